//! What became of many packages, by as many calls as it took.

use keypool_proto::v1::KeyPackageName;

use crate::decode::for_reason;
use crate::{Error, Failure, PackageOutcome, Result};

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
