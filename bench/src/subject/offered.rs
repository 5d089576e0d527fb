//! Reserves that are offered by time.

use super::{Clients, Requests};
use crate::{
    check::{Checker, Expected},
    drive::{Answer, Sender, is_overloaded},
};
use std::{sync::Arc, time::Duration};
use tonic::{Code, Request, Status};

/// Sends reserves to keypool with deadlines, as the SDK does, and checks the answers.
#[derive(Debug)]
pub(crate) struct Offered {
    /// A client of the service.
    pub(crate) client: Clients,
    /// What to ask for.
    pub(crate) requests: Requests,
    /// What checks the answers.
    pub(crate) checker: Arc<Checker>,
    /// How many bytes each package has.
    pub(crate) package_bytes: usize,
}

impl Sender for Offered {
    fn send(&mut self, within: Duration) -> impl Future<Output = Answer> + Send + 'static {
        let (message, asked_at) = self.requests.reserve();
        let expected = Expected { ttl: self.requests.ttl(), package_bytes: self.package_bytes };
        let (mut client, checker) = (self.client.clone(), self.checker.clone());
        async move {
            let mut request = Request::new(message.clone());
            request.set_timeout(within);
            match client.reserve_key_packages(request).await {
                Ok(answer) => {
                    checker.reserved(&message, asked_at, &answer.into_inner(), expected);
                    Answer::Done
                }
                Err(status) => refusal(status, &checker),
            }
        }
    }
}

/// What a status says of the service.
fn refusal(status: Status, checker: &Checker) -> Answer {
    // Which of client and service says it first is chance, and tonic's client calls it cancelled.
    if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) {
        return Answer::Late;
    }
    if is_overloaded(&status) || checker.refused(&status) {
        return Answer::Overloaded; // or exhausted, which the checker has noted as a violation
    }
    Answer::Failed(status.into())
}
