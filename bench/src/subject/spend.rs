//! Reserves, each of which is spent.

use super::{Reserver, reserver::Reserved};
use crate::drive::{CallError, Caller};
use keypool_proto::v1::SpendReservationRequest;

/// Reserves a package and spends it: a pair is one call.
#[derive(Debug)]
pub(crate) struct ReserveThenSpend {
    /// What reserves.
    pub(crate) reserver: Reserver,
}

impl Caller for ReserveThenSpend {
    async fn call(&mut self) -> Result<Option<u64>, CallError> {
        let Some(reserved) = self.reserver.reserve().await? else { return Ok(Some(0)) };
        self.reserver.check(&reserved);
        let Reserved { request, answer, .. } = reserved;
        let packages = answer.reservation.map(|one| one.packages).unwrap_or_default();
        let names: Vec<_> = packages.into_iter().filter_map(|package| package.name).collect();
        let spend = SpendReservationRequest {
            reservation_id: request.reservation_id,
            group_id: request.group_id,
            packages: names.clone(),
            ..SpendReservationRequest::default()
        };
        let id = spend.reservation_id.clone();
        self.reserver.client.spend_reservation(spend).await?;
        for name in &names {
            self.reserver.checker.spent(&name.key_package_ref, &id);
        }
        Ok(Some(names.len() as u64))
    }
}
