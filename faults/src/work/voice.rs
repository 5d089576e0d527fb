//! Who calls, by which client of the SDK, and where the calls are written down.

use super::{classify::failed, device::missing, names};
use crate::history::{Action, Answer, Call, Caller, Log, Outcome, Reserve};
use keypool_client::{Client, Reservation, Target as ClientTarget, proto::v1::KeyPackageName};
use std::{sync::Arc, time::Duration};

/// Who calls, by which client of the SDK, and where the calls are written down.
#[derive(Debug, Clone)]
pub(super) struct Voice {
    /// Who it is.
    pub(super) caller: Caller,
    /// What it calls with.
    pub(super) client: Client,
    /// Where its calls are written down.
    pub(super) log: Arc<Log>,
}

/// What is done word for word to all packages of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Use them up.
    Spend,
    /// Give them back.
    Release,
    /// Hold them for so long from now.
    Extend(Duration),
}

impl From<Deed> for Action {
    fn from(deed: Deed) -> Self {
        match deed {
            Deed::Spend => Self::Spend,
            Deed::Release => Self::Release,
            Deed::Extend(ttl) => Self::Extend(ttl),
        }
    }
}

impl Voice {
    /// Makes a call, and writes it down.
    pub(super) fn call<T>(
        &self,
        call: Call,
        making: impl Future<Output = (Outcome, T)>,
    ) -> impl Future<Output = (Outcome, T)> {
        // On the heap: it has all that a call of the SDK needs.
        self.log.call(self.caller, call, Box::pin(making))
    }

    /// Reserves.
    pub(super) async fn reserve(&self, reserve: &Reserve) -> (Outcome, Option<Reservation>) {
        let id = reserve.reservation;
        let targets = reserve.targets.iter().map(|target| match target {
            crate::history::Target::User(user) => ClientTarget::user(user.id()),
            crate::history::Target::Device(device) => {
                ClientTarget::device(device.0.id(), device.id())
            }
        });
        let mut builder = self
            .client
            .reserve(id.group())
            .reservation_id(id.to_string())
            .targets(targets)
            .ttl(reserve.ttl);
        if reserve.require_all {
            builder = builder.require_all();
        }
        builder =
            reserve.suites.iter().fold(builder, |builder, suite| builder.cipher_suite(*suite));
        let reserving = async {
            match builder.send().await {
                Ok(reservation) => {
                    let packages = reservation.packages().iter().filter_map(names::handed);
                    let missing = missing(reservation.missing());
                    let answer = Answer::Reserved(packages.collect(), missing);
                    (Outcome::Ok(answer), Some(reservation))
                }
                Err(error) => {
                    let nothing = |error: &keypool_client::Error| {
                        Answer::Reserved(Vec::new(), missing(error.missing()))
                    };
                    (failed(&error, nothing), None)
                }
            }
        };
        self.call(Call::Reserve(reserve.clone()), reserving).await
    }

    /// Spends, releases or extends packages of a reservation, which stays open.
    pub(super) async fn hold(
        &self,
        reserve: &Reserve,
        deed: Deed,
        mut reservation: Reservation,
        names: &[KeyPackageName],
    ) -> Outcome {
        let call = Call::Hold(names::hold(reserve, deed.into(), names));
        let doing = async {
            match deed {
                Deed::Spend => {
                    let spent = reservation.spend_packages(names).await;
                    reservation.keep();
                    names::held(spent, names)
                }
                Deed::Extend(ttl) => {
                    let extended = reservation.extend(ttl).await;
                    reservation.keep();
                    names::extended(extended, names)
                }
                Deed::Release => names::held(reservation.release().await, names),
            }
        };
        self.call(call, doing).await.0
    }
}
