//! Bounds the memory that calls take: each byte of a request is charged to whoever makes the call, from its arrival until the
//! call has ended, and each byte of an answer until it was sent.
//!
//! An answer counts until HTTP/2 has written its last byte, however small a window the caller leaves open. So does the call, as
//! one of those that its caller may have under way.

use super::{
    error::{RETRY_CALLS, invalid_argument, last_frame, overloaded, rate_limited},
    services::ResponseFuture,
};
use crate::{
    auth::{Method, Principal},
    limits::{Budget, Charge, Exceeded, InFlightPermit, Limit, Limited, Payer},
    transport::{OpenCall, Peer, Unsent},
};
use http::{HeaderMap, Request, Response, header::CONTENT_TYPE};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::{
    future::ready,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll},
};
use tonic::{Status, body::Body, codegen::Bytes};
use tower::{Layer, Service};

/// What any call takes, whatever its size: its future, its stream, a short request and a short answer.
const CALL: usize = 8 * 1024;

/// How often the bytes of a request are in memory while it is served: as they arrive, decoded, and as what is made of them.
const COPIES: usize = 3;

/// How much at a time is charged for a request that arrives in small parts.
const STEP: usize = 16 * 1024;

/// Adds [`BoundedMemory`] to a service.
#[derive(Debug, Clone)]
pub struct MemoryLayer {
    budget: Budget,
    largest: usize,
}

impl MemoryLayer {
    /// All calls have this budget, and no request is larger than so many bytes.
    #[must_use]
    pub fn new(budget: Budget, largest: usize) -> Self {
        Self { budget, largest }
    }
}

impl<S> Layer<S> for MemoryLayer {
    type Service = BoundedMemory<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BoundedMemory { inner, rules: self.clone() }
    }
}

/// A gRPC service whose calls take no more memory than they may.
#[derive(Debug, Clone)]
pub struct BoundedMemory<S> {
    inner: S,
    rules: MemoryLayer,
}

impl<S> Service<Request<Body>> for BoundedMemory<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>();
        let address = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.address.ip());
        let unsent = peer.map(|peer| peer.unsent.clone()).unwrap_or_default();
        let open = peer.map(|peer| peer.standing.begin_call());
        let memory = match CallMemory::begin(&self.rules.budget, address, request.headers(), open) {
            Ok(memory) => memory,
            Err(exceeded) => return Box::pin(ready(Ok(refusal(exceeded).into_http()))),
        };
        request.extensions_mut().insert(memory.clone());
        let most = wire_size(largest(request.uri().path(), self.rules.largest), request.headers());
        let arriving = |body| {
            Body::new(Arriving { body, memory: memory.clone(), most, seen: 0, charged: CALL })
        };
        let response = self.inner.call(request.map(arriving));
        Box::pin(async move {
            let leaving = |body| Body::new(Leaving { body: Some(body), memory, unsent });
            Ok(response.await?.map(leaving))
        })
    }
}

/// The largest request of a path, in bytes.
fn largest(path: &str, largest: usize) -> usize {
    let most = match Method::of(path) {
        Some(Method::UploadKeyPackages) => usize::MAX,
        // A hundred targets, each of which may leave out a hundred devices.
        Some(Method::ReserveKeyPackages) => 4 * 1024 * 1024,
        // A thousand refs, and a credential.
        Some(Method::ReconcilePool | Method::RevokeKeyPackages) => 256 * 1024,
        // A hundred packages, each with the ids of its user and device.
        Some(Method::SpendReservation | Method::ReleaseReservation | Method::ExtendReservation) => {
            128 * 1024
        }
        Some(Method::GetPoolStatus | Method::WatchPool | Method::ListSpendLog) => 8 * 1024,
        // All that a stream asks for.
        None if path.starts_with("/grpc.reflection.") => 256 * 1024,
        None => 1024,
    };
    most.min(largest)
}

/// The bytes on the wire of a message of at most so many.
fn wire_size(message: usize, headers: &HeaderMap) -> usize {
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    let framed = message + 5;
    match content_type {
        Some(web) if web.starts_with(b"application/grpc-web-text") => framed.div_ceil(3) * 4,
        _ => framed,
    }
}

/// The memory of a call. In the extensions of every request.
#[derive(Debug, Clone)]
pub(super) struct CallMemory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    charge: Mutex<Charge>,
    /// Why the request was not read to its end.
    refusal: OnceLock<Status>,
    /// The call is under way as long as this is.
    permit: OnceLock<InFlightPermit>,
    _open: Option<OpenCall>,
}

impl CallMemory {
    /// Of a call from an address: who makes it is not known yet.
    fn begin(
        budget: &Budget,
        address: IpAddr,
        headers: &HeaderMap,
        open: Option<OpenCall>,
    ) -> Result<Self, Exceeded> {
        let size = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            name.as_str().len() + value.len()
        };
        let headers: usize = headers.iter().map(size).sum();
        let charge = budget.charge(Payer::from_address(address), CALL + headers)?;
        let (refusal, permit) = (OnceLock::new(), OnceLock::new());
        Ok(Self(Arc::new(Inner { charge: Mutex::new(charge), refusal, permit, _open: open })))
    }

    /// Charges the call to the principal that makes it.
    pub(super) fn belongs_to(&self, principal: &Principal) -> Result<(), Status> {
        let name = principal.name().clone();
        let payer = match principal.stands_for_many() {
            true => Payer::Many(name),
            false => Payer::One(name),
        };
        self.charge().pass_to(payer).map_err(refusal)
    }

    /// Keeps the call under way until the last byte of its answer was sent.
    pub(super) fn keep(&self, permit: InFlightPermit) {
        // There is one for each call.
        let _first = self.0.permit.set(permit);
    }

    /// Why the request was not read to its end; none if it was.
    pub(super) fn refusal(&self) -> Option<&Status> {
        self.0.refusal.get()
    }

    fn grow(&self, bytes: usize) -> Result<(), Status> {
        self.charge().grow(bytes).map_err(refusal)
    }

    /// Charges a part of the answer, unless it is short.
    fn part(&self, bytes: usize) -> Result<Option<Charge>, Status> {
        let charge = (bytes > CALL / 2).then(|| self.charge().another(bytes));
        charge.transpose().map_err(refusal)
    }

    fn charge(&self) -> MutexGuard<'_, Charge> {
        self.0.charge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refusal(exceeded: Exceeded) -> Status {
    Limit::Memory.hit();
    match exceeded {
        Exceeded::Share => rate_limited(Limited { limit: Limit::Memory, wait: RETRY_CALLS }),
        Exceeded::Budget => overloaded(),
    }
}

/// A request that arrives.
struct Arriving {
    body: Body,
    memory: CallMemory,
    /// How many bytes it may have, has so far, and is charged for.
    most: usize,
    seen: usize,
    charged: usize,
}

impl Arriving {
    fn admit(&mut self, bytes: usize) -> Result<(), Status> {
        self.seen += bytes;
        if self.seen > self.most {
            let problem = format!("must have at most {} bytes", self.most);
            return Err(invalid_argument(vec![(String::new(), problem)]));
        }
        let missing = (COPIES * self.seen).saturating_sub(self.charged);
        if missing > 0 {
            let step = missing.next_multiple_of(STEP);
            self.memory.grow(step)?;
            self.charged += step;
        }
        Ok(())
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(refusal) = self.admit(data.len())
        {
            let _first = self.memory.0.refusal.set(refusal.clone());
            return Poll::Ready(Some(Err(refusal)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer that is sent.
struct Leaving {
    /// None once it had to end before its end.
    body: Option<Body>,
    memory: CallMemory,
    unsent: Unsent,
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = match std::task::ready!(Pin::new(body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            ended => return Poll::Ready(ended),
        };
        let frame = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
        };
        let part = match self.memory.part(frame.len()) {
            Ok(charge) => (self.memory.clone(), charge),
            Err(refusal) => {
                self.body = None;
                return Poll::Ready(Some(last_frame(&refusal)));
            }
        };
        Poll::Ready(Some(Ok(Frame::data(self.unsent.track(frame, part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}
