//! From a listener to connections that are ready to serve.

use super::{
    connection::{Connection, Socket},
    long_streams::LongStreams,
    patience::{Limits, Patience},
    peer::{ClientCertificate, Peer},
    registry::Registry,
    unsent::Unsent,
};
use crate::{config::LimitsConfig, supervise::Supervisor};
use rustls::ServerConfig;
use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

/// How many connections may be ready and not yet served. They are served at once.
const READY: usize = 16;

/// How long nothing is accepted when the system has no resources for more connections.
const PAUSE: Duration = Duration::from_millis(500);

/// The connections to serve. When it is dropped, the listener is closed.
type Incoming = ReceiverStream<Result<Connection, Infallible>>;

/// Accepts connections, by TLS if there are settings for it, and makes them ready beside one another.
pub(crate) fn accept(
    listener: TcpListener,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    limits: &LimitsConfig,
    tasks: &Supervisor,
) -> Incoming {
    let (ready, incoming) = mpsc::channel(READY);
    let acceptor = Acceptor {
        listener,
        tls,
        limits: limits.into(),
        watches: limits.watches_per_connection(),
        age: limits.oldest_connection(),
        registry: Registry::new(limits.connections),
        ready,
    };
    tasks.spawn("accept loop", acceptor.run());
    ReceiverStream::new(incoming)
}

struct Acceptor {
    listener: TcpListener,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    limits: Limits,
    watches: usize,
    age: Option<Duration>,
    registry: Registry,
    ready: mpsc::Sender<Result<Connection, Infallible>>,
}

impl Acceptor {
    async fn run(self) {
        // Those under way end with this task.
        let mut handshakes = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = self.ready.closed() => return,
                Some(_) = handshakes.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => self.admit(stream, address, &mut handshakes),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "can't accept connections for a moment");
                    tokio::select! {
                        () = self.ready.closed() => return,
                        () = sleep(PAUSE) => {}
                    }
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr, handshakes: &mut JoinSet<()>) {
        let Some(place) = self.registry.admit(address.ip()) else {
            count("over_limit");
            return;
        };
        let (limits, watches, age) = (self.limits, self.watches, self.age);
        let ready = self.ready.clone();
        let tls = self.tls.as_ref().map(|tls| TlsAcceptor::from(tls.borrow().clone()));
        handshakes.spawn(async move {
            let began = Instant::now();
            stream.set_nodelay(true).ok();
            let ended = place.standing().ended();
            let established = match tls {
                None => Ok((Socket::Plain(stream), None)),
                Some(tls) => {
                    let handshake = ended.run_until_cancelled(tls.accept(stream));
                    match timeout_at(began + limits.handshake, Box::pin(handshake)).await {
                        Ok(Some(Ok(stream))) => established(stream),
                        Ok(Some(Err(error))) => Err(error),
                        Ok(None) => Err(io::ErrorKind::TimedOut.into()),
                        Err(elapsed) => Err(elapsed.into()),
                    }
                }
            };
            match established {
                Ok((socket, certificate)) => {
                    count("accepted");
                    let old_at = age.map(|age| Instant::now() + age);
                    let long_streams = LongStreams::new(watches, old_at);
                    let (standing, unsent) = (place.standing().clone(), Unsent::default());
                    let patience = Patience::new(limits, began, standing.clone(), unsent.clone());
                    let peer = Peer { address, certificate, long_streams, standing, unsent };
                    let connection = Connection::new(socket, patience, peer, place);
                    // Nobody takes it when the service stops.
                    ready.send(Ok(connection)).await.ok();
                }
                Err(error) => {
                    tracing::debug!(%error, peer = %address, "no TLS with a peer");
                    count("handshake_failed");
                }
            }
        });
    }
}

/// What a TLS connection is, and whose.
fn established(
    stream: TlsStream<TcpStream>,
) -> io::Result<(Socket, Option<Arc<ClientCertificate>>)> {
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = match leaf {
        Some(leaf) => Some(Arc::new(ClientCertificate::parse(leaf).map_err(io::Error::other)?)),
        None => None,
    };
    Ok((Socket::Tls(Box::new(stream)), certificate))
}

/// Whether an error to accept is of one connection, which ended before it was accepted, and not of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

fn count(result: &'static str) {
    crate::telemetry::catalogue::ACCEPTED_CONNECTIONS.count([result]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{ClientCertificates, TlsConfig},
        transport::Reloader,
    };
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
    use tonic::{
        Request, Status,
        service::InterceptorLayer,
        transport::{Certificate, Endpoint, Identity, Server},
    };
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    const SPIFFE: &str = "spiffe://example.org/backend";

    /// Serves the health service, which tells whose requests it gets.
    async fn serve(
        tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    ) -> (SocketAddr, mpsc::Receiver<Peer>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = accept(listener, tls, &LimitsConfig::default(), &Supervisor::default());
        let (seen, peers) = mpsc::channel(16);
        let tell = move |request: Request<()>| -> Result<Request<()>, Status> {
            seen.try_send(request.extensions().get::<Peer>().unwrap().clone()).unwrap();
            Ok(request)
        };
        let (_, health) = tonic_health::server::health_reporter();
        let server = Server::builder().layer(InterceptorLayer::new(tell)).add_service(health);
        tokio::spawn(server.serve_with_incoming(incoming));
        (address, peers)
    }

    async fn call(endpoint: Endpoint) {
        let mut health = HealthClient::new(endpoint.connect().await.unwrap());
        health.check(HealthCheckRequest::default()).await.unwrap();
    }

    #[tokio::test]
    async fn requests_carry_their_peer() {
        let (address, mut peers) = serve(None).await;
        call(Endpoint::from_shared(format!("http://{address}")).unwrap()).await;
        let peer = peers.recv().await.unwrap();
        assert!(peer.address.ip().is_loopback() && peer.address.port() != address.port());
        assert!(peer.certificate.is_none());
    }

    #[tokio::test]
    async fn requests_carry_the_names_of_the_certificate_that_was_shown() {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let issue = |name: &str, uris: &[&str]| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
            params.subject_alt_names.extend(uris);
            (params.signed_by(&key, &ca).unwrap().pem(), key.serialize_pem())
        };
        let folder = tempfile::tempdir().unwrap();
        let write = |name, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let (certificate, key) = issue("localhost", &[]);
        let mut settings = TlsConfig::new(write("tls.crt", &certificate), write("tls.key", &key));
        settings.client_ca = Some(write("ca.crt", &ca.pem()));
        settings.client_certificates = Some(ClientCertificates::Optional);
        let reloader = Reloader::start(settings).await.unwrap();

        let (address, mut peers) = serve(Some(reloader.current())).await;
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
        let trusting = tonic::transport::ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca.pem()))
            .domain_name("localhost");
        call(endpoint.clone().tls_config(trusting.clone()).unwrap()).await;
        assert!(peers.recv().await.unwrap().certificate.is_none());

        let (certificate, key) = issue("backend.example", &[SPIFFE]);
        let shown = trusting.identity(Identity::from_pem(certificate, key));
        call(endpoint.tls_config(shown).unwrap()).await;
        let names = peers.recv().await.unwrap().certificate.unwrap();
        assert_eq!(names.uris, [SPIFFE]);
        assert_eq!(names.dns_names, ["backend.example"]);
    }

    #[tokio::test]
    async fn the_listener_is_closed_with_the_stream_of_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(accept(listener, None, &LimitsConfig::default(), &Supervisor::default()));
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
