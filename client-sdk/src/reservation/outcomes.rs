//! What became of many packages, by as many calls as it took.

use keypool_proto::v1::{KeyPackageName, KeyPackageOutcome};

use crate::decode::for_reason;
use crate::{Error, Failure, PackageOutcome, Result, WrongAnswer};

/// The answer to a call about these packages, if it fits the call: a success has one outcome for each
/// of them, in order, and a failure has outcomes of no others.
pub(super) fn checked<T>(
    asked: &[KeyPackageName],
    answer: Result<T>,
    outcomes: impl Fn(&T) -> &[KeyPackageOutcome],
) -> Result<T> {
    let fits = match &answer {
        Ok(answer) => {
            let told = outcomes(answer);
            let all_done = told.iter().all(|outcome| outcome.reason == 0);
            all_done && told.iter().map(|outcome| outcome.name.as_ref()).eq(asked.iter().map(Some))
        }
        Err(error) => {
            // In the order of the call, as each of them occurs there once.
            let mut asked = asked.iter();
            error.outcomes().iter().all(|told| asked.any(|name| *name == told.name))
        }
    };
    if fits { answer } else { Err(WrongAnswer::Results.into()) }
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
        let done = |name: &KeyPackageName| PackageOutcome {
            name: name.clone(),
            reason: None,
            message: String::new(),
        };
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
