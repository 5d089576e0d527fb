//! Reserves that are answered by keypool.

use super::{Clients, REPEAT_ONE_IN, Requests};
use crate::{
    check::{Checker, Expected, Micros},
    drive::{CallError, Caller},
};
use keypool_proto::v1::{ReserveKeyPackagesRequest, ReserveKeyPackagesResponse};
use std::sync::Arc;

/// Reserves, and now and then repeats a reserve. What was reserved returns to its pool by itself.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// A client of the service.
    pub(crate) client: Clients,
    /// A client for repeats: of another replica, if there is one.
    pub(crate) repeats: Clients,
    /// What to ask for.
    pub(crate) requests: Requests,
    /// What checks the answers.
    pub(crate) checker: Arc<Checker>,
    /// How many bytes each package has.
    pub(crate) package_bytes: usize,
    /// The last call.
    pub(crate) last: Option<LastReserve>,
}

/// A reserve and its answer.
#[derive(Debug)]
pub(crate) struct LastReserve {
    request: ReserveKeyPackagesRequest,
    asked_at: Micros,
    answer: ReserveKeyPackagesResponse,
}

impl Caller for Reserve {
    async fn call(&mut self) -> Result<Option<u64>, CallError> {
        let (request, asked_at) = self.requests.reserve();
        let answer = match self.client.reserve_key_packages(request.clone()).await {
            Ok(answer) => answer.into_inner(),
            // A broken promise, which the checker has noted, and not a failed call.
            Err(status) if self.checker.refused(&status) => return Ok(Some(0)),
            Err(status) => return Err(status.into()),
        };
        let items = answer.reservation.as_ref().map_or(0, |one| one.packages.len() as u64);
        self.last = Some(LastReserve { request, asked_at, answer });
        Ok(Some(items))
    }

    async fn verify(&mut self) -> Result<(), CallError> {
        let Some(LastReserve { request, asked_at, answer }) = self.last.take() else {
            return Ok(());
        };
        let ttl = self.requests.ttl();
        let expected = Expected { ttl, package_bytes: self.package_bytes };
        self.checker.reserved(&request, asked_at, &answer, expected);
        if self.requests.one_in(REPEAT_ONE_IN) {
            let again = match self.repeats.reserve_key_packages(request.clone()).await {
                Ok(again) => again.into_inner(),
                Err(status) if self.checker.refused(&status) => return Ok(()),
                Err(status) => return Err(status.into()),
            };
            self.checker.repeated(&answer, &again, ttl);
            // It may have renewed a hold that had lapsed, so that only the first ask is sure to have come before.
            self.checker.reserved(&request, Micros(i64::MIN), &again, expected);
        }
        Ok(())
    }
}
