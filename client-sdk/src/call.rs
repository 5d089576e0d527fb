//! How a call is made: try after try, until one of them settles it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use keypool_proto::v1::ErrorReason;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Request};
use tracing::Instrument;

use crate::auth::Authorization;
use crate::decode::is_own_expiry;
use crate::method::Method;
use crate::observe::{self, Observed};
use crate::retry::{Repeated, Retries};
use crate::transport::{Replica, Seat};
use crate::{Client, Error, Failure, Result};

impl Client {
    /// Makes a call, and repeats it word for word for as long as that helps and the deadline allows.
    /// Dropped before its end, it leaves nothing behind.
    pub(crate) async fn call<M: Method>(&self, request: M) -> Result<M::Answer> {
        let mut observed = Observed::start(&request);
        let span = observed.span();
        let mut tries = Tries::start(self, M::REPEATED);
        let call = async {
            loop {
                observed.tried();
                match tries.send(request.clone()).await {
                    Ok(answer) => {
                        tries.succeeded();
                        return Ok(answer);
                    }
                    Err(error) => sleep(tries.after(error).await?).await,
                }
            }
        };
        let answer = call.instrument(span).await;
        observed.ended(answer.as_ref().err());
        answer
    }
}

/// The tries of one call, or of one stream: what they have in common, and what the next one has to
/// know about those before.
#[derive(Debug)]
pub(crate) struct Tries {
    client: Client,
    repeated: Repeated,
    deadline: Option<Instant>,
    retries: Retries,
    authorization: Authorization,
    /// Where the latest try went, and by which connection.
    went: Option<(Arc<Replica>, Seat)>,
    /// Where tries failed since the last pause.
    failed: Vec<Arc<Replica>>,
}

impl Tries {
    pub(crate) fn start(client: &Client, repeated: Repeated) -> Self {
        let settings = client.settings();
        let deadline = match repeated {
            Repeated::WithinDeadline => Some(Instant::now() + settings.timeout),
            Repeated::Endlessly => None,
        };
        Self {
            client: client.clone(),
            repeated,
            deadline,
            retries: settings.retry.start(repeated),
            authorization: Authorization::new(client.tokens().cloned()),
            went: None,
            failed: Vec::new(),
        }
    }

    /// Sends the request once, unless the service is so overloaded that it is kept back.
    pub(crate) async fn send<M: Method>(&mut self, request: M) -> Result<M::Answer> {
        self.went = None;
        if !self.client.throttle().admits(M::NAME, Instant::now()) {
            observe::kept_back(M::NAME);
            return Err(kept_back());
        }
        let answer = self.ask(request).await;
        self.client.throttle().heard(M::NAME, answer.as_ref().err(), Instant::now());
        answer
    }

    async fn ask<M: Method>(&mut self, request: M) -> Result<M::Answer> {
        let mut request = Request::new(request);
        let authorized = self.authorization.authorize(&mut request);
        until(self.deadline, authorized).await.unwrap_or_else(|| Err(self.expired()))?;
        #[cfg(feature = "opentelemetry")]
        observe::send_context(request.metadata_mut());

        let replica = self.client.replicas().pick(&self.failed, Instant::now())?;
        let seat = replica.seat(self.repeated);
        let channel = seat.channel();
        self.went = Some((replica, seat));
        let end = self.end_of_try();
        if let Some(end) = end {
            request.set_timeout(end.saturating_duration_since(Instant::now()));
        }
        let began = Instant::now();
        match until(end, M::send(channel, request)).await {
            Some(Ok(answer)) => Ok(answer.into_inner()),
            Some(Err(status)) if !is_own_expiry(&status) => Err(status.into()),
            // The channel keeps the same time as we do, and may be first.
            Some(Err(_)) | None => {
                self.went.iter().for_each(|(_, seat)| seat.silent(began, Instant::now()));
                Err(self.expired())
            }
        }
    }

    /// How long to wait before the next try, or the error that ends the call.
    pub(crate) async fn after(&mut self, mut error: Error) -> Result<Duration> {
        if matches!(error, Error::Unauthenticated(_)) {
            match until(self.deadline, self.authorization.renew()).await {
                Some(Ok(true)) => return Ok(Duration::ZERO),
                Some(Err(no_token)) => error = no_token,
                Some(Ok(false)) | None => {}
            }
        }
        let another = self.turn_away(&error);
        let Some(delay) = self.retries.after(&error) else {
            return Err(error);
        };
        let delay = if another { Duration::ZERO } else { delay };
        if self.left().is_some_and(|left| delay >= left) {
            return Err(error);
        }
        tracing::debug!(%error, ?delay, "keypool call failed, trying again");
        Ok(delay)
    }

    /// The service answered well: from here on all is as at the start, but for the deadline.
    pub(crate) fn succeeded(&mut self) {
        if let Some((replica, seat)) = &self.went {
            seat.heard(Instant::now());
            replica.answered();
        }
        self.retries = self.client.settings().retry.start(self.repeated);
        self.authorization.accepted();
        self.failed.clear();
    }

    /// Keeps the next tries from a replica that failed. Returns whether there is another one, that
    /// is worth being tried at once.
    fn turn_away(&mut self, error: &Error) -> bool {
        let Some((replica, seat)) = self.went.take() else {
            return false;
        };
        let now = Instant::now();
        let down = matches!(
            error,
            Error::Transport(_) | Error::Unavailable(_) | Error::DeadlineExceeded(_)
        );
        if down {
            replica.failed(now);
        } else {
            seat.heard(now);
            replica.answered();
        }
        let another = self.go_elsewhere(replica, now);
        down && another
    }

    /// Keeps the next tries from a replica, if there are others. Returns whether there is one that is
    /// worth being tried at once.
    fn go_elsewhere(&mut self, replica: Arc<Replica>, now: Instant) -> bool {
        self.failed.push(replica);
        let replicas = self.client.replicas();
        let another = replicas.has_fresh(&self.failed, now);
        if !another && self.failed.len() >= replicas.len() {
            self.failed.clear();
        }
        another
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The stream ended, or was refused, for no fault of the replica: the next one is opened elsewhere,
    /// if there are other replicas. Returns whether there is one that has not been tried.
    pub(crate) fn moves_on(&mut self) -> bool {
        let went = self.went.take();
        went.is_some_and(|(replica, _)| self.go_elsewhere(replica, Instant::now()))
    }

    /// The service has no room for the watch on its connection. Returns whether another connection
    /// may have.
    pub(crate) fn is_crowded(&mut self) -> bool {
        self.went.take().is_some_and(|(_, seat)| seat.is_crowded())
    }

    /// Where others could answer, no try gets all of the time.
    fn end_of_try(&self) -> Option<Instant> {
        let share = self.client.settings().retry.share(self.left()?, self.client.replicas().len());
        Some(Instant::now() + share)
    }

    fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn expired(&self) -> Error {
        let message = match self.left() {
            Some(left) if !left.is_zero() => "no answer within one try's share of the time".into(),
            _ => format!("no answer within {:?}", self.client.settings().timeout),
        };
        Error::DeadlineExceeded(Box::new(Failure::new(Code::DeadlineExceeded, message)))
    }
}

fn kept_back() -> Error {
    let message = "not sent, because the service refuses more of these calls than it takes";
    let mut failure = Failure::new(Code::Unavailable, message);
    failure.reason = Some(ErrorReason::Overloaded);
    Error::Overloaded(Box::new(failure))
}

/// `None` if the time is over first.
async fn until<T>(end: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match end {
        Some(end) => timeout_at(end, future).await.ok(),
        None => Some(future.await),
    }
}
