//! Streams that go on until somebody ends them: watches, of pools as of health, and reflection.
//!
//! They are fewer than the streams of their connection, so that other calls never wait behind them. They end when the
//! service stops, soon after their connection has reached its age, and with their caller's token.

use super::{
    error::{connection_aged, last_frame, pool_status, too_many_watches, unauthenticated},
    services::ResponseFuture,
};
use crate::{
    auth::Principal,
    clock::Clock,
    limits::WatchLimit,
    pool::PoolError,
    transport::{LongStream, Peer},
};
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use jiff::SignedDuration;
use std::{
    future::{Future, pending, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body, codegen::Bytes};
use tower::{Layer, Service};

/// The methods that answer by such a stream.
pub(super) const METHODS: [&str; 4] = [
    "/keypool.v1.KeyPackageService/WatchPool",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Adds [`LongStreamLimits`] to a service, below [`Authenticate`](super::Authenticate).
#[derive(Debug, Clone)]
pub struct LongStreamLayer {
    clock: Arc<dyn Clock>,
    stopping: CancellationToken,
}

impl LongStreamLayer {
    /// Tokens end by this clock, and all streams when the service stops.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, stopping: CancellationToken) -> Self {
        Self { clock, stopping }
    }

    /// When the caller's token ends, if it has one.
    fn token_end(&self, caller: Option<&Principal>) -> Option<Instant> {
        let end = caller.and_then(Principal::proven_until)?;
        let left = end.duration_since(self.clock.now()).max(SignedDuration::ZERO);
        Some(Instant::now() + left.unsigned_abs())
    }
}

impl<S> Layer<S> for LongStreamLayer {
    type Service = LongStreamLimits<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LongStreamLimits { inner, limits: Arc::new(self.clone()) }
    }
}

/// A gRPC service whose long streams are limited in number and time.
#[derive(Debug, Clone)]
pub struct LongStreamLimits<S> {
    inner: S,
    // Cloned with each request.
    limits: Arc<LongStreamLayer>,
}

impl<S, B> Service<Request<B>> for LongStreamLimits<S>
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
        let peer = request.extensions().get::<Peer>();
        let Some(peer) = peer.filter(|_| METHODS.contains(&request.uri().path())) else {
            return self.inner.call(request);
        };
        let Some(place) = peer.long_streams.begin() else {
            let refused = too_many_watches(WatchLimit::Connection).into_http();
            return Box::pin(ready(Ok(refused)));
        };
        let token_end = self.limits.token_end(request.extensions().get());
        let end = Box::pin(end(place.ends_at, token_end, self.limits.stopping.clone()));
        let response = self.inner.call(request);
        Box::pin(async move {
            let limited =
                |body| Body::new(LimitedBody { body: Some(body), token_end, end, _place: place });
            Ok(response.await?.map(limited))
        })
    }
}

/// Waits until a stream must end, and says why.
async fn end(
    place: Option<Instant>,
    token: Option<Instant>,
    stopping: CancellationToken,
) -> Status {
    tokio::select! {
        () = stopping.cancelled_owned() => pool_status(PoolError::ShuttingDown),
        () = at(place) => connection_aged(),
        () = at(token) => unauthenticated("the token has expired"),
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

/// What a stream answers, until it is ended.
struct LimitedBody {
    /// None once it has ended.
    body: Option<Body>,
    /// From then on nothing is sent, even if the body always has something: the caller decides when it reads.
    token_end: Option<Instant>,
    end: Pin<Box<dyn Future<Output = Status> + Send>>,
    _place: LongStream,
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let is_proven = self.token_end.is_none_or(|end| Instant::now() < end);
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if is_proven && let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let Poll::Ready(status) = self.end.as_mut().poll(context) else { return Poll::Pending };
        self.body = None;
        Poll::Ready(Some(last_frame(&status)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    /// A body that has something whenever it is asked.
    struct Endless;

    impl HttpBody for Endless {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"status")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_reads_slowly_gets_nothing_after_its_token_ended() {
        let token_end = Some(Instant::now() + std::time::Duration::from_secs(60));
        let mut body = LimitedBody {
            body: Some(Body::new(Endless)),
            token_end,
            end: Box::pin(end(None, token_end, CancellationToken::new())),
            _place: crate::transport::LongStreams::new(1, None).begin().unwrap(),
        };
        let mut next =
            async || std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        assert!(next().await.unwrap().unwrap().is_data());
        tokio::time::advance(std::time::Duration::from_secs(60)).await;
        let trailers = next().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(
            Status::from_header_map(&trailers).unwrap().code(),
            tonic::Code::Unauthenticated
        );
        assert!(next().await.is_none());
    }

    #[test]
    fn every_method_that_streams_is_limited() {
        let served = [
            keypool_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut streaming = Vec::new();
        for set in served {
            for file in FileDescriptorSet::decode(set).unwrap().file {
                for service in &file.service {
                    let methods = service.method.iter().filter(|method| method.server_streaming());
                    streaming.extend(methods.map(|method| {
                        format!("/{}.{}/{}", file.package(), service.name(), method.name())
                    }));
                }
            }
        }
        streaming.sort_unstable();
        streaming.dedup();
        let mut limited = METHODS.to_vec();
        limited.sort_unstable();
        assert_eq!(streaming, limited);
    }
}
