//! What happens around every call: it gets a span with a request id, in which the call notes whom it is about; it ends at
//! its deadline; and it is counted and timed by method and status code.

use super::{deadline, malformed};
use http::{Request, Response};
use metrics::{Counter, Histogram};
use std::{
    future::Future,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
    time::Instant,
};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument, field};

/// Adds [`Calls`] to a service.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallLayer;

impl<S> Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Calls { inner }
    }
}

/// A gRPC service whose calls end at their deadlines and are observed.
#[derive(Debug, Clone)]
pub struct Calls<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for Calls<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = Method::of(request.uri().path());
        let span = tracing::info_span!(
            "call",
            method = method.name(),
            request_id = %uuid::Uuid::now_v7(),
            reservation_id = field::Empty,
            user_id = field::Empty,
            device_id = field::Empty,
        );
        let started = Instant::now();
        let timeout = deadline::timeout(request.headers());
        let response = self.inner.call(request);
        let call = async move {
            let response = malformed::translate(deadline::within(timeout, response).await?);
            observe(method, started, &response);
            Ok(response)
        };
        Box::pin(call.instrument(span))
    }
}

/// Counts and times a call.
fn observe(method: Method, started: Instant, response: &Response<Body>) {
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    let seconds = started.elapsed().as_secs_f64();
    tracing::debug!(code = code_name(code), seconds, "done");
    let metrics = method.metrics();
    match code {
        Code::Ok => metrics.ok.increment(1),
        code => method.counter(code).increment(1),
    }
    metrics.duration.record(seconds);
}

/// A method of the API, by its place in [`METHODS`]; the place behind the last is everything else, so that callers can't
/// make up label values.
#[derive(Clone, Copy)]
struct Method(usize);

const METHODS: [&str; 10] = [
    "UploadKeyPackages",
    "GetPoolStatus",
    "WatchPool",
    "ReconcilePool",
    "RevokeKeyPackages",
    "ReserveKeyPackages",
    "SpendReservation",
    "ReleaseReservation",
    "ExtendReservation",
    "ListSpendLog",
];

/// What every call of a method touches, looked up once.
struct MethodMetrics {
    ok: Counter,
    duration: Histogram,
}

impl Method {
    fn of(path: &str) -> Self {
        let name = path.strip_prefix("/keypool.v1.").and_then(|rest| rest.split_once('/'));
        let name = name.map_or("", |(_, name)| name);
        Self(METHODS.iter().position(|method| *method == name).unwrap_or(METHODS.len()))
    }

    fn name(self) -> &'static str {
        METHODS.get(self.0).copied().unwrap_or("other")
    }

    fn metrics(self) -> &'static MethodMetrics {
        static METRICS: [OnceLock<MethodMetrics>; METHODS.len() + 1] =
            [const { OnceLock::new() }; METHODS.len() + 1];
        METRICS[self.0].get_or_init(|| MethodMetrics {
            ok: self.counter(Code::Ok),
            duration: metrics::histogram!(
                "keypool_grpc_call_duration_seconds", "method" => self.name()
            ),
        })
    }

    fn counter(self, code: Code) -> Counter {
        metrics::counter!(
            "keypool_grpc_calls_total", "method" => self.name(), "code" => code_name(code)
        )
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn every_method_of_the_api_has_its_name() {
        let set = prost_types::FileDescriptorSet::decode(keypool_proto::FILE_DESCRIPTOR_SET);
        let mut methods = 0;
        for file in set.unwrap().file {
            for service in &file.service {
                for called in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), called.name());
                    assert_eq!(Method::of(&path).name(), called.name());
                    methods += 1;
                }
            }
        }
        assert_eq!(methods, 10);
        assert_eq!(Method::of("/somewhere.v1.Else/Reserve").name(), "other");
    }
}
