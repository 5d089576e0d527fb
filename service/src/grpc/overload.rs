//! Refuses calls that would be refused as OVERLOADED, before anything is done for them: the busier the service is, the
//! less it must cost to say so.

use super::{
    calls::observe,
    error::{code_of, overloaded},
    services::ResponseFuture,
};
use crate::{auth::Method, lane::LaneKind, pool::KeyPackagePool};
use http::{Request, Response};
use std::{
    future::ready,
    sync::LazyLock,
    task::{Context, Poll},
    time::Instant,
};
use tonic::body::Body;
use tower::{Layer, Service};

/// Adds [`Overload`] to a service.
#[derive(Debug, Clone)]
pub struct OverloadLayer {
    pool: KeyPackagePool,
}

impl OverloadLayer {
    /// Calls go to this pool.
    #[must_use]
    pub fn new(pool: KeyPackagePool) -> Self {
        Self { pool }
    }
}

impl<S> Layer<S> for OverloadLayer {
    type Service = Overload<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Overload { inner, pool: self.pool.clone() }
    }
}

/// A gRPC service that neither reads nor traces what its pool has no room for, nor asks who calls.
#[derive(Debug, Clone)]
pub struct Overload<S> {
    inner: S,
    pool: KeyPackagePool,
}

impl<S, B> Service<Request<B>> for Overload<S>
where
    S: Service<
            Request<B>,
            Response = Response<Body>,
            Future = ResponseFuture<<S as Service<Request<B>>>::Error>,
        >,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = Method::of(request.uri().path());
        match method.and_then(lane_kind) {
            Some(kind) if self.pool.refuses(kind) => {
                let refusal = refusal();
                observe(method, code_of(&refusal), Instant::now());
                Box::pin(ready(Ok(refusal)))
            }
            _ => self.inner.call(request),
        }
    }
}

/// The lanes that a method's calls wait in.
fn lane_kind(method: Method) -> Option<LaneKind> {
    match method {
        Method::ReserveKeyPackages => Some(LaneKind::Reserve),
        Method::SpendReservation | Method::ReleaseReservation | Method::ExtendReservation => {
            Some(LaneKind::Hold)
        }
        Method::UploadKeyPackages => Some(LaneKind::Upload),
        Method::GetPoolStatus
        | Method::WatchPool
        | Method::ReconcilePool
        | Method::RevokeKeyPackages
        | Method::ListSpendLog => None,
    }
}

fn refusal() -> Response<Body> {
    static HEAD: LazyLock<http::response::Parts> =
        LazyLock::new(|| overloaded().into_http::<Body>().into_parts().0);
    Response::from_parts(HEAD.clone(), Body::empty())
}
