//! A replica: the service's own gRPC on a pool in memory.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keypool_proto::v1::key_package_service_server::KeyPackageServiceServer;
use keypool_service::clock::SystemClock;
use keypool_service::grpc::{AuthenticateLayer, CallLayer, CallRates, KeyPackageService};
use keypool_service::limits::{CallLimits, InFlight, Rates};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use turmoil::net::TcpListener;

use crate::database::Database;
use crate::network::accept;
use crate::pools::ReplicaPools;
use crate::simulation::{Scenario, policy};

pub(crate) const PORT: u16 = 50051;

/// No call takes longer, whatever its caller says.
const LONGEST_CALL: Duration = Duration::from_secs(60);

/// How long those under way have to finish when the replica stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) fn name(number: usize) -> String {
    format!("replica-{number}")
}

/// Stops a replica as an operator does. Each life of the replica has another one.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<Mutex<CancellationToken>>);

impl Stop {
    pub(crate) fn stop(&self) {
        self.0.lock().unwrap().cancel();
    }

    /// Whether it was told to stop, and has not begun another life.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.lock().unwrap().is_cancelled()
    }

    fn renew(&self) -> CancellationToken {
        let mut token = self.0.lock().unwrap();
        *token = CancellationToken::new();
        token.clone()
    }
}

/// Serves until it is stopped.
pub(crate) async fn serve(
    database: Database,
    number: usize,
    scenario: Scenario,
    stop: Stop,
) -> turmoil::Result {
    let stopping = stop.renew();
    let pools = ReplicaPools::new(database, number, scenario);
    let api = KeyPackageService::new(pools.clone(), policy(), InFlight::new(1000));
    let rates = CallRates::new(CallLimits::new(&Rates::UNLIMITED), Arc::new(SystemClock));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let stopped = stopping.clone().cancelled_owned();
    let mut serving = tokio::spawn(
        Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            .layer(CallLayer::new(LONGEST_CALL))
            .layer(AuthenticateLayer::new(None, 1000, rates))
            .add_service(KeyPackageServiceServer::new(api))
            .serve_with_incoming_shutdown(accept(listener), stopped),
    );
    stopping.cancelled().await;
    // As `Server::stop` does.
    pools.close_watches();
    if tokio::time::timeout(DRAIN_TIMEOUT, &mut serving).await.is_err() {
        serving.abort();
    }
    Ok(())
}
