//! Requests that aren't the message they should be: bytes that aren't protobuf, text that isn't UTF-8.
//!
//! tonic answers them with INTERNAL, as if the service had failed. The caller did, so it gets INVALID_ARGUMENT with the
//! field's path, like for any other bad request.

use super::error::invalid_argument;
use http::{Request, Response};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

/// How prost begins the description of a message that it can't decode.
const UNDECODABLE: &str = "failed to decode Protobuf message: ";

/// Adds [`MalformedRequests`] to a service.
#[derive(Debug, Clone, Copy, Default)]
pub struct MalformedRequestLayer;

impl<S> Layer<S> for MalformedRequestLayer {
    type Service = MalformedRequests<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MalformedRequests { inner }
    }
}

/// Answers requests that can't be decoded with INVALID_ARGUMENT.
#[derive(Debug, Clone)]
pub struct MalformedRequests<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for MalformedRequests<S>
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
        let response = self.inner.call(request);
        Box::pin(async move { Ok(translate(response.await?)) })
    }
}

fn translate(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() == Code::Internal => {
            match status.message().split_once(UNDECODABLE) {
                Some((_, problem)) => invalid_argument(vec![violation(problem)]).into_http(),
                None => response,
            }
        }
        _ => response,
    }
}

/// prost writes the path from the message's Rust name: `UploadKeyPackagesRequest.user_id: invalid string value: …`.
fn violation(problem: &str) -> (String, String) {
    match problem.split_once(": ") {
        Some((path, what)) if path.contains('.') => {
            let steps = path.split(". ").flat_map(|step| step.split('.'));
            let fields: Vec<&str> =
                steps.filter(|step| !step.starts_with(char::is_uppercase)).collect();
            (fields.join("."), format!("can't be decoded: {what}"))
        }
        _ => (String::new(), format!("can't be decoded: {problem}")),
    }
}
