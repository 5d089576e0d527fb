//! Reserves that are offered by time, through the SDK.

use super::Requests;
use crate::{
    check::{Checker, Violation},
    database::fill,
    drive::{Answer, CallError, Sender},
    error::Error,
};
use keypool_client::{Client, Reservation};
use std::{sync::Arc, time::Duration};

/// Sends reserves as an application does, which are tried again within their deadline, and checks the answers.
#[derive(Debug)]
pub(crate) struct OfferedBySdk {
    client: Client,
    requests: Requests,
    checker: Arc<Checker>,
}

impl OfferedBySdk {
    /// Sends by a connection of its own. All calls have the same deadline.
    pub(crate) async fn connect(
        endpoint: &str,
        deadline: Duration,
        requests: Requests,
        checker: Arc<Checker>,
    ) -> Result<Self, Error> {
        let client = Client::builder(endpoint).timeout(deadline).connect().await;
        Ok(Self { client: client.map_err(Error::Prepare)?, requests, checker })
    }
}

impl Sender for OfferedBySdk {
    fn send(&mut self, _within: Duration) -> impl Future<Output = Answer> + Send + 'static {
        let (group, user, ttl) =
            (self.requests.group_id(), self.requests.user(), self.requests.ttl());
        let checker = self.checker.clone();
        let reserve = self.client.reserve(group).device(user, fill::DEVICE).ttl(ttl);
        async move {
            match reserve.send().await {
                Ok(reservation) => done(reservation, ttl, &checker),
                Err(error) => refusal(error, &checker),
            }
        }
    }
}

fn done(reservation: Reservation, ttl: Duration, checker: &Checker) -> Answer {
    checker.holds(&reservation, ttl);
    if reservation.packages().iter().filter(|package| !package.last_resort).count() != 1 {
        checker.violated(Violation::WrongAnswer, reservation.id());
    }
    reservation.keep();
    Answer::Done
}

/// What an error says of the service.
fn refusal(error: keypool_client::Error, checker: &Checker) -> Answer {
    match error {
        keypool_client::Error::Overloaded(_) => Answer::Overloaded,
        keypool_client::Error::DeadlineExceeded(_) => Answer::Late,
        keypool_client::Error::PoolExhausted(failure) => {
            checker.violated(Violation::FalselyExhausted, &failure.message);
            Answer::Overloaded
        }
        error => Answer::Failed(CallError::Failed(error.to_string())),
    }
}
