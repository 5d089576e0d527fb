//! Says of every call who makes it, before anything else is done for it. Then the call goes on with its caller's trace.

use super::{
    call_rates::CallRates,
    error::{RETRY_CALLS, issuer_unavailable, rate_limited, unauthenticated},
    long_streams,
    memory::CallMemory,
    services::ResponseFuture,
};
use crate::{
    auth::{AuthenticationError, Authenticator, CertificateNames, Method, Principal},
    limits::{InFlight, InFlightPermit, Limit, Limited, Payer},
    security::{self, Event},
    telemetry::continue_trace,
    transport::Peer,
};
use http::{HeaderMap, Request, Response, header::AUTHORIZATION, request::Parts};
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use tracing::Span;

/// What those who watch over the service's health may call without credentials.
const OPEN: &str = "/grpc.health.v1.Health/";

/// Adds [`Authenticate`] to a service.
#[derive(Debug, Clone)]
pub struct AuthenticateLayer {
    callers: Callers,
    in_flight: InFlight,
    rates: CallRates,
}

#[derive(Debug, Clone)]
enum Callers {
    /// They have to prove who they are.
    Known(Authenticator),
    /// They are all taken for one that may do anything.
    Anybody(Principal),
}

impl AuthenticateLayer {
    /// Every caller has to prove who it is, unless there is no authenticator; and may have so many calls under way at the
    /// same time, and make them at these rates.
    #[must_use]
    pub fn new(
        authenticator: Option<Authenticator>,
        calls_per_principal: usize,
        rates: CallRates,
    ) -> Self {
        let callers =
            authenticator.map_or_else(|| Callers::Anybody(Principal::anonymous()), Callers::Known);
        Self { callers, in_flight: InFlight::new(calls_per_principal), rates }
    }
}

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticate { inner, rules: Arc::new(self.clone()) }
    }
}

/// A gRPC service whose requests carry their caller, a [`Principal`].
#[derive(Debug, Clone)]
pub struct Authenticate<S> {
    inner: S,
    // Cloned with each request.
    rules: Arc<AuthenticateLayer>,
}

impl<S, B> Service<Request<B>> for Authenticate<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that was polled is ready; its clone need not be.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let rules = self.rules.clone();
        Box::pin(async move {
            if request.uri().path().starts_with(OPEN) {
                return inner.call(request).await;
            }
            let (mut head, body) = request.into_parts();
            let principal = match rules.principal(&head).await {
                Ok(principal) => principal,
                Err(status) => return Ok(status.into_http()),
            };
            let _permit = match rules.admit(&head, &principal) {
                Ok(permit) => permit,
                Err(status) => return Ok(status.into_http()),
            };
            let rated = match rules.rates.begin(&head, &principal) {
                Ok(rated) => rated,
                Err(status) => return Ok(status.into_http()),
            };
            if Method::of(head.uri.path()).is_some() {
                continue_trace(&Span::current(), &head.headers);
            }
            head.extensions.insert(principal);
            let response = inner.call(Request::from_parts(head, body)).await?;
            Ok(match rated {
                Some(call) => call.answered(response),
                None => response,
            })
        })
    }
}

impl AuthenticateLayer {
    /// Lets a call in. A stream that goes on is under way until it begins to answer; any other call until its answer was sent.
    fn admit(&self, head: &Parts, principal: &Principal) -> Result<Option<InFlightPermit>, Status> {
        if let Some(peer) = head.extensions.get::<Peer>() {
            peer.standing.prove(principal);
        }
        let permit = self.in_flight.begin(principal).map_err(|_too_many| {
            Limit::Calls.hit();
            rate_limited(Limited { limit: Limit::Calls, wait: RETRY_CALLS })
        })?;
        let Some(memory) = head.extensions.get::<CallMemory>() else { return Ok(Some(permit)) };
        memory.belongs_to(principal)?;
        if long_streams::METHODS.contains(&head.uri.path()) {
            return Ok(Some(permit));
        }
        memory.keep(permit);
        Ok(None)
    }

    async fn principal(&self, head: &Parts) -> Result<Principal, Status> {
        let authenticator = match &self.callers {
            Callers::Known(authenticator) => authenticator,
            Callers::Anybody(anonymous) => return Ok(anonymous.clone()),
        };
        let certificate =
            head.extensions.get::<Peer>().and_then(|peer| peer.certificate.as_deref());
        let names =
            certificate.map(|one| CertificateNames { uris: &one.uris, dns_names: &one.dns_names });
        let authenticated = authenticator.authenticate(bearer(&head.headers), names).await;
        authenticated.map_err(|error| {
            if error == AuthenticationError::KeysUnavailable {
                return issuer_unavailable();
            }
            let address = head.extensions.get::<Peer>().map(|peer| peer.address.ip());
            security::event!(
                Event::AuthenticationRefused, of &address.map(Payer::from_address),
                address = address.map(tracing::field::display),
                method = Method::of(head.uri.path()).map_or("other", Method::name),
                why = %error,
            );
            unauthenticated(&error.to_string())
        })
    }
}

/// The token of a request (RFC 6750, section 2.1). One that can't be read, or one of several, is a
/// wrong one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().unwrap_or_default();
    if values.next().is_some() {
        return Some("");
    }
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    Some(if scheme.eq_ignore_ascii_case("bearer") { token.trim_start() } else { "" })
}
