//! Finds the service that a call is for.

use super::{KeyPackageService, pools::Pools};
use http::{Request, Response};
use keypool_proto::v1::key_package_service_server::{KeyPackageServiceServer, SERVICE_NAME};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tonic::{body::Body, service::Routes};
use tower::Service;

/// The answer to a call, once it begins.
pub(super) type ResponseFuture<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

/// The KeyPackageService, and others behind a router. The router copies itself and boxes the bodies for each call, which calls of the
/// KeyPackageService are spared.
#[derive(Debug)]
pub struct Services<P: Pools> {
    key_packages: KeyPackageServiceServer<KeyPackageService<P>>,
    others: Routes,
}

impl<P: Pools> Services<P> {
    /// Serves these.
    #[must_use]
    pub fn new(
        key_packages: KeyPackageServiceServer<KeyPackageService<P>>,
        others: Routes,
    ) -> Self {
        Self { key_packages, others: others.prepare() }
    }
}

impl<P: Pools> Clone for Services<P> {
    fn clone(&self) -> Self {
        Self { key_packages: self.key_packages.clone(), others: self.others.clone() }
    }
}

impl<P: Pools> Service<Request<Body>> for Services<P> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match names_key_packages(request.uri().path()) {
            true => self.key_packages.call(request),
            false => Box::pin(self.others.call(request)),
        }
    }
}

/// Whether a path is of the KeyPackageService, as `/keypool.v1.KeyPackageService/SpendReservation`.
fn names_key_packages(path: &str) -> bool {
    let method = path.strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE_NAME));
    method.is_some_and(|method| method.starts_with('/'))
}
