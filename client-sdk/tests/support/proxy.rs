//! A network that fails on demand, between a client and a real service.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Server};
use tower::ServiceExt;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The service never sees it.
    DropRequest,
    /// The service does what it asks for, and the caller never hears of it.
    DropReply,
    /// It arrives late.
    Delay,
    /// The connection breaks before the service sees it.
    CutBefore,
    /// The connection breaks once the service has done what it asks for.
    CutAfter,
    /// The service does what it asks for, and the answer never comes.
    HoldReply,
}

pub(crate) const FAULTS: [Fault; 5] =
    [Fault::DropRequest, Fault::DropReply, Fault::Delay, Fault::CutBefore, Fault::CutAfter];

/// A proxy that passes on every call, but for those that are to fail.
#[derive(Clone)]
pub(crate) struct Proxy {
    upstream: Channel,
    state: Arc<Mutex<Plan>>,
    address: std::net::SocketAddr,
}

#[derive(Default)]
struct Plan {
    calls: Vec<String>,
    faults: Vec<(usize, Fault)>,
    /// From this call on nothing gets through, in either direction.
    dead_from: Option<usize>,
    connections: CancellationToken,
    stuck: usize,
}

impl Proxy {
    pub(crate) async fn start(upstream: String) -> Self {
        let upstream = Endpoint::from_shared(upstream).unwrap().connect_lazy();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self { upstream, state: Arc::default(), address };
        let state = proxy.state.clone();
        let incoming = TcpListenerStream::new(listener).map(move |stream| {
            let connections = state.lock().unwrap().connections.clone();
            stream.map(|stream| Cuttable { stream, cut: Box::pin(connections.cancelled_owned()) })
        });
        let router = Router::new().fallback(pass_on).with_state(proxy.clone());
        let server = Server::builder().add_routes(Routes::from(router));
        tokio::spawn(server.serve_with_incoming(incoming));
        proxy
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forgets the calls so far, and lets the call with this number (from 0 on) fail so.
    pub(crate) fn fail(&self, call: usize, fault: Fault) {
        *self.state.lock().unwrap() = Plan { faults: vec![(call, fault)], ..Plan::default() };
    }

    /// Forgets the calls so far, and lets nothing through from the call with this number on.
    pub(crate) fn die(&self, call: usize) {
        *self.state.lock().unwrap() = Plan { dead_from: Some(call), ..Plan::default() };
    }

    /// Forgets the calls so far, and lets everything through.
    pub(crate) fn heal(&self) {
        *self.state.lock().unwrap() = Plan::default();
    }

    /// Waits until a call is stuck for ever.
    pub(crate) async fn stuck(&self) {
        while self.state.lock().unwrap().stuck == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The paths of the calls so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.clone()
    }

    fn next_fault(&self, path: &str) -> (Option<Fault>, bool, CancellationToken) {
        let mut plan = self.state.lock().unwrap();
        let number = plan.calls.len();
        plan.calls.push(path.to_owned());
        let fault = plan.faults.iter().find(|(call, _)| *call == number).map(|(_, fault)| *fault);
        let is_dead = plan.dead_from.is_some_and(|first| number >= first);
        (fault, is_dead, plan.connections.clone())
    }

    async fn hang(&self) -> Response {
        self.state.lock().unwrap().stuck += 1;
        std::future::pending().await
    }

    fn cut(&self, connections: &CancellationToken) {
        connections.cancel();
        self.state.lock().unwrap().connections = CancellationToken::new();
    }
}

async fn pass_on(State(proxy): State<Proxy>, request: Request) -> Response {
    let (fault, is_dead, connections) = proxy.next_fault(request.uri().path());
    if is_dead {
        return proxy.hang().await;
    }
    match fault {
        Some(Fault::DropRequest) => return lost(),
        Some(Fault::CutBefore) => {
            proxy.cut(&connections);
            return lost();
        }
        Some(Fault::Delay) => tokio::time::sleep(Duration::from_millis(100)).await,
        _ => {}
    }
    let upstream = proxy.upstream.clone();
    let Ok(answer) = upstream.oneshot(request.map(tonic::body::Body::new)).await else {
        return lost();
    };
    match fault {
        Some(Fault::DropReply) => lost(),
        Some(Fault::HoldReply) => proxy.hang().await,
        Some(Fault::CutAfter) => {
            proxy.cut(&connections);
            lost()
        }
        _ => answer.map(Body::new),
    }
}

/// What a proxy says that can't get through.
fn lost() -> Response {
    Status::unavailable("the network failed").into_http()
}

/// A connection that can be broken from outside.
struct Cuttable {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cuttable {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Cuttable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Cuttable {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}
