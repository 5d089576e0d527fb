//! What happens around every call: it gets a span with a request id, ends at its deadline, and is counted and timed by
//! method and status code.

use super::{deadline, malformed};
use http::{Request, Response};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument;

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
        let method = method(request.uri().path());
        let span = tracing::info_span!("call", method, request_id = %uuid::Uuid::now_v7());
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
fn observe(method: &'static str, started: Instant, response: &Response<Body>) {
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    let (code, seconds) = (code_name(code), started.elapsed().as_secs_f64());
    tracing::debug!(code, seconds, "done");
    metrics::counter!("keypool_grpc_calls_total", "method" => method, "code" => code).increment(1);
    metrics::histogram!("keypool_grpc_call_duration_seconds", "method" => method).record(seconds);
}

/// The method's name; `other` for what isn't ours, so that callers can't make up label values.
fn method(path: &str) -> &'static str {
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
    let name = path.strip_prefix("/keypool.v1.").and_then(|rest| rest.split_once('/'));
    METHODS
        .into_iter()
        .find(|method| name.is_some_and(|(_, name)| name == *method))
        .unwrap_or("other")
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
                    assert_eq!(method(&path), called.name());
                    methods += 1;
                }
            }
        }
        assert_eq!(methods, 10);
        assert_eq!(method("/somewhere.v1.Else/Reserve"), "other");
    }
}
