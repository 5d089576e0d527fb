//! Reserves, each of which is spent.

use super::{Clients, Requests};
use crate::{
    check::{Checker, Expected},
    drive::{CallError, Caller},
};
use keypool_proto::v1::SpendReservationRequest;
use std::sync::Arc;

/// Reserves a package and spends it: a pair is one call.
#[derive(Debug)]
pub(crate) struct ReserveThenSpend {
    /// A client of the service.
    pub(crate) client: Clients,
    /// What to ask for.
    pub(crate) requests: Requests,
    /// What checks the answers.
    pub(crate) checker: Arc<Checker>,
    /// How many bytes each package has.
    pub(crate) package_bytes: usize,
}

impl Caller for ReserveThenSpend {
    async fn call(&mut self) -> Result<Option<u64>, CallError> {
        let (request, asked_at) = self.requests.reserve();
        let answer = match self.client.reserve_key_packages(request.clone()).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if self.checker.refused(&status) => return Ok(Some(0)),
            Err(status) => return Err(status.into()),
        };
        let expected = Expected { ttl: self.requests.ttl(), package_bytes: self.package_bytes };
        self.checker.reserved(&request, asked_at, &answer, expected);
        let packages = answer.reservation.map(|one| one.packages).unwrap_or_default();
        let names: Vec<_> = packages.into_iter().filter_map(|package| package.name).collect();
        let spend = SpendReservationRequest {
            reservation_id: request.reservation_id,
            group_id: request.group_id,
            packages: names.clone(),
            ..SpendReservationRequest::default()
        };
        let id = spend.reservation_id.clone();
        self.client.spend_reservation(spend).await?;
        for name in &names {
            self.checker.spent(&name.key_package_ref, &id);
        }
        Ok(Some(names.len() as u64))
    }
}
