//! Reserves that are answered by keypool.

use super::{Clients, REPEAT_ONE_IN, Reserver, reserver::Reserved};
use crate::{
    check::Micros,
    drive::{CallError, Caller},
};

/// Reserves, and now and then repeats a reserve. What was reserved returns to its pool by itself.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// What reserves.
    pub(crate) reserver: Reserver,
    /// A client for repeats: of another replica, if there is one.
    pub(crate) repeats: Clients,
    /// The last call.
    pub(crate) last: Option<Reserved>,
}

impl Caller for Reserve {
    async fn call(&mut self) -> Result<Option<u64>, CallError> {
        let Some(reserved) = self.reserver.reserve().await? else { return Ok(Some(0)) };
        let reservation = reserved.answer.reservation.as_ref();
        let items = reservation.map_or(0, |one| one.packages.len() as u64);
        self.last = Some(reserved);
        Ok(Some(items))
    }

    async fn verify(&mut self) -> Result<(), CallError> {
        let Some(reserved) = self.last.take() else { return Ok(()) };
        self.reserver.check(&reserved);
        let expected = self.reserver.expected();
        let Reserver { requests, checker, .. } = &mut self.reserver;
        if requests.one_in(REPEAT_ONE_IN) {
            let again = match self.repeats.reserve_key_packages(reserved.request.clone()).await {
                Ok(again) => again.into_inner(),
                Err(status) if checker.refused(&status) => return Ok(()),
                Err(status) => return Err(status.into()),
            };
            checker.repeated(&reserved.answer, &again, requests.ttl());
            // It may have renewed a hold that had lapsed, so that only the first ask is sure to have come before.
            checker.reserved(&reserved.request, Micros(i64::MIN), &again, expected);
        }
        Ok(())
    }
}
