//! What became of many packages, by as many calls as it took.

use keypool_proto::v1::{KeyPackageFailure, KeyPackageName, KeyPackageOutcome};

use crate::decode::for_reason;
use crate::{Error, Failure, PackageOutcome, Result, WrongAnswer};

/// The answer to a call about these packages, if it fits the call: a success has one outcome for each
/// of them, in order. A failure names those that failed by their positions, each once and in order; its
/// outcomes are those of all packages of the call, unless the call was refused as a whole.
pub(super) fn checked<T>(
    asked: &[KeyPackageName],
    answer: Result<T>,
    outcomes: impl Fn(&T) -> &[KeyPackageOutcome],
) -> Result<T> {
    let error = match answer {
        Ok(answer) => {
            let told = outcomes(&answer);
            let names = told.iter().map(|outcome| outcome.name.as_ref());
            return if names.eq(asked.iter().map(Some)) {
                Ok(answer)
            } else {
                Err(WrongAnswer::Results.into())
            };
        }
        Err(error) => error,
    };
    let Some(failure) = error.failure().filter(|failure| !failure.failed_packages.is_empty())
    else {
        return Err(error);
    };
    let outcomes = of_all(asked, &failure.failed_packages).ok_or(WrongAnswer::Results)?;
    Err(Failure { outcomes, failed_packages: Vec::new(), ..failure.clone() }.into())
}

/// The outcomes of all packages, by those that failed. `None` if these are not some of them in order.
fn of_all(asked: &[KeyPackageName], failed: &[KeyPackageFailure]) -> Option<Vec<PackageOutcome>> {
    let done = |name: &KeyPackageName| PackageOutcome { name: name.clone(), reason: None };
    let mut outcomes: Vec<_> = asked.iter().map(done).collect();
    if !failed.is_sorted_by(|one, next| one.index < next.index) {
        return None;
    }
    for one in failed {
        let index = usize::try_from(one.index).ok()?;
        outcomes.get_mut(index)?.reason = Some(one.reason());
    }
    Some(outcomes)
}

/// The outcomes of several calls as if they were one.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    known: Vec<PackageOutcome>,
    failure: Option<Error>,
}

impl Outcomes {
    /// A call succeeded for all of these packages.
    pub(super) fn succeeded(&mut self, names: &[KeyPackageName]) {
        let done = |name: &KeyPackageName| PackageOutcome { name: name.clone(), reason: None };
        self.known.extend(names.iter().map(done));
    }

    /// A call failed. The error to return is the first one, or rather the first one with outcomes.
    pub(super) fn failed(&mut self, error: Error) {
        self.known.extend_from_slice(error.outcomes());
        let says_more = |first: &Error| first.outcomes().is_empty() && !error.outcomes().is_empty();
        if self.failure.as_ref().is_none_or(says_more) {
            self.failure = Some(error);
        }
    }

    /// The error has the outcomes of all the calls that the service answered.
    pub(super) fn into_result(self) -> Result<()> {
        let Some(error) = self.failure else {
            return Ok(());
        };
        let failure = error.failure().and_then(|failure| Some((failure.reason?, failure)));
        Err(match failure {
            Some((reason, failure)) => {
                let failure = Failure { outcomes: self.known, ..failure.clone() };
                for_reason(reason)(Box::new(failure))
            }
            None => error,
        })
    }
}
