//! Says of every call who makes it, before anything else is done for it.

use crate::auth::Principal;
use http::Request;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Adds [`Authenticate`] to a service.
#[derive(Debug, Clone)]
pub struct AuthenticateLayer;

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticate { inner }
    }
}

/// A gRPC service whose requests carry their caller, a [`Principal`].
#[derive(Debug, Clone)]
pub struct Authenticate<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for Authenticate<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(Principal::anonymous());
        self.inner.call(request)
    }
}
