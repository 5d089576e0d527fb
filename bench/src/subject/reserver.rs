//! One reserve by keypool, with the check of its answer.

use super::{Clients, Requests};
use crate::{
    check::{Checker, Expected, Micros},
    drive::CallError,
};
use keypool_proto::v1::{ReserveKeyPackagesRequest, ReserveKeyPackagesResponse};
use std::sync::Arc;

/// Makes reserves, one after another.
#[derive(Debug)]
pub(crate) struct Reserver {
    /// A client of the service.
    pub(crate) client: Clients,
    /// What to ask for.
    pub(crate) requests: Requests,
    /// What checks the answers.
    pub(crate) checker: Arc<Checker>,
    /// How many bytes each package has.
    pub(crate) package_bytes: usize,
}

/// A reserve and its answer.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(super) request: ReserveKeyPackagesRequest,
    pub(super) answer: ReserveKeyPackagesResponse,
    asked_at: Micros,
}

impl Reserver {
    /// Reserves. None if a promise was broken, which the checker has noted: that is not a failed call.
    pub(super) async fn reserve(&mut self) -> Result<Option<Reserved>, CallError> {
        let (request, asked_at) = self.requests.reserve();
        match self.client.reserve_key_packages(request.clone()).await {
            Ok(answer) => Ok(Some(Reserved { request, answer: answer.into_inner(), asked_at })),
            Err(status) if self.checker.refused(&status) => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    /// Checks the answer.
    pub(super) fn check(&self, reserved: &Reserved) {
        let Reserved { request, answer, asked_at } = reserved;
        self.checker.reserved(request, *asked_at, answer, self.expected());
    }

    /// What each answer should be like.
    pub(super) fn expected(&self) -> Expected {
        Expected { ttl: self.requests.ttl(), package_bytes: self.package_bytes }
    }
}
