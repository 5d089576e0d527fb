//! What happens around every call: it gets a span with a request id, in which the call notes whom it is about; it ends at
//! its deadline; and it is counted and timed by method and status code.

use super::{deadline, error::code_of, malformed, memory::CallMemory, services::ResponseFuture};
use crate::{
    auth::Method,
    telemetry::{catalogue, is_sampled},
};
use http::{Request, Response};
use metrics::{Counter, Gauge, Histogram};
use std::{
    sync::{LazyLock, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tonic::{Code, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};

/// The longest time of a call that is not one of the API's, as of a health check.
const OTHERS: Duration = Duration::from_secs(10);

/// Adds [`Calls`] to a service.
#[derive(Debug, Clone, Copy)]
pub struct CallLayer {
    longest: Duration,
}

impl CallLayer {
    /// No call takes longer than this to begin its answer, whatever its caller says.
    #[must_use]
    pub fn new(longest: Duration) -> Self {
        Self { longest }
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Calls { inner, longest: self.longest }
    }
}

/// A gRPC service whose calls end at their deadlines and are observed.
#[derive(Debug, Clone)]
pub struct Calls<S> {
    inner: S,
    longest: Duration,
}

impl<S, B> Service<Request<B>> for Calls<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = Method::of(request.uri().path());
        let span = tracing::info_span!(
            "call",
            otel.name = label(method),
            otel.kind = "server",
            otel.status_code = field::Empty,
            rpc.system = "grpc",
            rpc.grpc.status_code = field::Empty,
            method = label(method),
            request_id = %uuid::Uuid::now_v7(),
            trace_id = field::Empty,
            reservation_id = field::Empty,
            user_id = field::Empty,
            device_id = field::Empty,
        );
        let under_way = UnderWay::begin();
        let memory = request.extensions().get::<CallMemory>().cloned();
        let started = Instant::now();
        // Who need not prove anything has little time.
        let longest = method.map_or(self.longest.min(OTHERS), |_| self.longest);
        let waiting = deadline::begin(deadline::timeout(request.headers(), longest));
        let response = self.inner.call(request);
        let call = async move {
            let _under_way = under_way;
            let span = Span::current();
            let response = deadline::within(waiting, response).await?;
            let response = told(memory.as_ref(), response);
            let code = code_of(&response);
            observe(method, code, started);
            // Not before the caller's trace is known: see `continue_trace`.
            if is_sampled(&span) {
                tell(&span, code);
            }
            Ok(response)
        };
        Box::pin(call.instrument(span))
    }
}

/// The answer as its caller is told: why its request was not read, if it was not.
pub(super) fn told(memory: Option<&CallMemory>, response: Response<Body>) -> Response<Body> {
    match memory.and_then(CallMemory::refusal) {
        Some(refusal) => refusal.clone().into_http(),
        None => malformed::translate(response),
    }
}

/// A call that has not ended yet.
struct UnderWay;

impl UnderWay {
    fn begin() -> Self {
        Self::gauge().increment(1.0);
        Self
    }

    fn gauge() -> &'static Gauge {
        static GAUGE: LazyLock<Gauge> = LazyLock::new(|| catalogue::GRPC_CALLS_IN_FLIGHT.with([]));
        &GAUGE
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        Self::gauge().decrement(1.0);
    }
}

/// Counts and times a call that ended.
pub(super) fn observe(method: Option<Method>, code: Code, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    tracing::debug!(code = code_name(code), seconds, "done");
    let metrics = MethodMetrics::of(method);
    metrics.count(method, code);
    metrics.duration.record(seconds);
}

/// Tells whoever reads the trace how a call ended. Each field costs whoever does not a microsecond.
fn tell(span: &Span, code: Code) {
    span.record("rpc.grpc.status_code", code as i32);
    if is_fault(code) {
        span.record("otel.status_code", "ERROR");
    }
}

/// What every call of a method touches, looked up once.
struct MethodMetrics {
    ok: Counter,
    unavailable: OnceLock<Counter>,
    duration: Histogram,
}

/// What calls of a method are counted under. Everything that isn't one of the API's shares a name, so that callers can't
/// make up label values.
fn label(method: Option<Method>) -> &'static str {
    method.map_or("other", Method::name)
}

impl MethodMetrics {
    fn of(method: Option<Method>) -> &'static Self {
        static METRICS: [OnceLock<MethodMetrics>; Method::ALL.len() + 1] =
            [const { OnceLock::new() }; Method::ALL.len() + 1];
        let place = method.map_or(Method::ALL.len(), |method| method as usize);
        METRICS[place].get_or_init(|| Self {
            ok: counter(method, Code::Ok),
            unavailable: OnceLock::new(),
            duration: catalogue::GRPC_CALL_DURATION.with([label(method)]),
        })
    }

    fn count(&self, method: Option<Method>, code: Code) {
        match code {
            Code::Ok => self.ok.increment(1),
            // Who has too much to do must not do more for each that it refuses.
            Code::Unavailable => {
                self.unavailable.get_or_init(|| counter(method, code)).increment(1);
            }
            code => counter(method, code).increment(1),
        }
    }
}

fn counter(method: Option<Method>, code: Code) -> Counter {
    catalogue::GRPC_CALLS.with([label(method), code_name(code)])
}

/// Whether a code says that the service is at fault, as OpenTelemetry's conventions for gRPC servers have it.
fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// A status code as gRPC spells it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
