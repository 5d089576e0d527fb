//! How many calls each principal makes, and how many of them may be refused. Back ends, which stand for many, are not counted.

use super::{
    calls::told,
    error::{code_of, rate_limited},
    memory::CallMemory,
};
use crate::{auth::Principal, clock::Clock, limits::CallLimits};
use http::{Response, request::Parts};
use std::sync::Arc;
use tonic::{Code, Status, body::Body};

/// The rates of calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CallRates {
    limits: CallLimits,
    clock: Arc<dyn Clock>,
}

/// A call that is charged to its principal if it is refused.
pub(super) struct RatedCall {
    caller: Principal,
    memory: Option<CallMemory>,
    rates: CallRates,
}

impl CallRates {
    /// These limits, by this clock.
    #[must_use]
    pub fn new(limits: CallLimits, clock: Arc<dyn Clock>) -> Self {
        Self { limits, clock }
    }

    /// Lets a call of a principal in before it is read. None if the principal is not limited.
    pub(super) fn begin(
        &self,
        head: &Parts,
        principal: &Principal,
    ) -> Result<Option<RatedCall>, Status> {
        if principal.stands_for_many() {
            return Ok(None);
        }
        self.limits
            .begin(principal.name(), principal.device_id(), self.clock.now())
            .map_err(rate_limited)?;
        let memory = head.extensions.get::<CallMemory>().cloned();
        Ok(Some(RatedCall { caller: principal.clone(), memory, rates: self.clone() }))
    }
}

impl RatedCall {
    /// Charges for the call if this answer refuses it.
    pub(super) fn answered(self, response: Response<Body>) -> Response<Body> {
        let response = told(self.memory.as_ref(), response);
        if is_refusal(code_of(&response)) {
            let Self { caller, rates, .. } = &self;
            rates.limits.refused(caller.name(), caller.device_id(), rates.clock.now());
        }
        response
    }
}

/// Whether a code says that the call should not have been made. A failed precondition says that another's pool is empty, or what
/// became of a package: that is no fault of the caller. What a rate refuses is not charged to another one.
fn is_refusal(code: Code) -> bool {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}
