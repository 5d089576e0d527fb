//! A service with a network between it and its database.

use crate::support::{
    Client,
    calls::eventually,
    client, device, fill, http,
    locks::connect,
    network::{Link, Network},
    reason, reserve_request, spend_request, upload_request,
};
use keypool_proto::v1::{
    ErrorReason, GetPoolStatusRequest, KeyPackageName, WatchPoolRequest, WatchPoolResponse,
};
use keypool_service::{
    config::{Config, DatabaseUrl},
    testing::{database::TestDatabase, packages::PackageMaker, server::TestServer},
};
use std::{sync::LazyLock, time::Duration};
use tonic::{Code, Status, Streaming, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt;

/// No call may take so long: many times what one does take, and less than a dead connection would take to be found out.
const FAR_TOO_LONG: Duration = Duration::from_secs(10);

pub(crate) struct Rig {
    pub(crate) server: TestServer,
    pub(crate) network: Network,
    pub(crate) client: Client,
}

impl Rig {
    /// A service whose bob has a phone with packages.
    pub(crate) async fn start(configure: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create().await;
        let url = database.url();
        Self::start_as(database, &url, configure).await
    }

    /// The same, as the role that a URL names.
    pub(crate) async fn start_as(
        database: TestDatabase,
        url: &str,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let network = Network::before(&database);
        let url = network.url(url);
        let server = TestServer::start_with_database(database, |config| {
            config.database_url = Some(DatabaseUrl::new(url));
            configure(config);
        })
        .await;
        let mut client = client(&server).await;
        fill(&mut client, "bob", "phone", 8).await;
        Self { server, network, client }
    }

    /// Waits until probes and health say that it serves, or that it does not.
    pub(crate) async fn becomes(&self, ready: bool) {
        let status = if ready { 200 } else { 503 };
        eventually("readiness follows the database", async || {
            http::get(self.server.server().admin_address(), "/readyz").await.status == status
        })
        .await;
        let serving = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        let endpoint = Endpoint::from_shared(self.server.endpoint()).unwrap();
        let mut health = HealthClient::new(endpoint.connect().await.unwrap());
        eventually("health follows the database", async || {
            let request = HealthCheckRequest { service: String::new() };
            health.check(request).await.unwrap().into_inner().status() == serving
        })
        .await;
    }

    pub(crate) async fn watch(&mut self) -> Streaming<WatchPoolResponse> {
        let request = WatchPoolRequest { user_id: "bob".into(), device_id: "phone".into() };
        let mut watch = self.client.watch_pool(request).await.unwrap().into_inner();
        watch.message().await.unwrap().unwrap();
        watch
    }
}

/// Nobody reads or changes what pools hold while this is not dropped. Tables are locked in the order in which the service's
/// statements lock them, and no others are: a sweep may be under way.
pub(crate) struct Locked(tokio_postgres::Client);

impl Locked {
    pub(crate) async fn start(server: &TestServer) -> Self {
        let client = connect(&server.database().config()).await;
        client.batch_execute("BEGIN; LOCK TABLE device, one_time").await.unwrap();
        Self(client)
    }

    pub(crate) async fn end(self) {
        self.0.batch_execute("COMMIT").await.unwrap();
    }
}

/// One call of each kind: by each kind of lane, and by the pool of connections. Without deadlines.
pub(crate) async fn call_each(client: &Client, id: &str) -> [Result<(), Status>; 4] {
    let name = KeyPackageName {
        user_id: "bob".into(),
        device_id: "phone".into(),
        key_package_ref: vec![7; 32],
    };
    let [mut a, mut b, mut c, mut d] = [(); 4].map(|()| client.clone());
    let status = GetPoolStatusRequest { user_id: "bob".into(), device_id: "phone".into() };
    // One for all: making and checking a package is the dearest part of a test.
    static PACKAGE: LazyLock<Vec<u8>> = LazyLock::new(|| PackageMaker::new("bob", "phone").make());
    let calls = async {
        tokio::join!(
            a.reserve_key_packages(reserve_request(id, vec![device("bob", "phone")])),
            b.spend_reservation(spend_request(id, vec![name])),
            c.upload_key_packages(upload_request("bob", "phone", vec![PACKAGE.clone()])),
            d.get_pool_status(status),
        )
    };
    let answers = tokio::time::timeout(FAR_TOO_LONG, calls).await.expect("no call hangs");
    [answers.0.map(drop), answers.1.map(drop), answers.2.map(drop), answers.3.map(drop)]
}

/// Checks that an error says: the database is away, try again soon.
pub(crate) fn assert_unavailable(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason(status), ErrorReason::DatabaseUnavailable);
    assert!(status.get_error_details().retry_info().is_some(), "{status:?}");
}

/// Waits until one call of each kind succeeds, or fails for a good reason.
pub(crate) async fn serves_again(rig: &Rig) {
    let mut number = 0;
    eventually("calls are served again", async || {
        number += 1;
        let [reserve, spend, upload, status] =
            call_each(&rig.client, &format!("again-{number}")).await;
        // A statement that arrived late may hold everything for callers that were told it failed: until the holds lapse.
        let reserve =
            reserve.map_or_else(|status| reason(&status) == ErrorReason::PoolExhausted, |()| true);
        let spend = spend.unwrap_err().code() == Code::NotFound;
        reserve && spend && upload.is_ok() && status.is_ok()
    })
    .await;
}

/// How many calls a test makes where one would do.
pub(crate) const MANY: usize = 100;

/// Makes many calls at once, and checks that each is told that the database is away.
pub(crate) async fn all_fail(rig: &Rig) {
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..MANY {
        let client = rig.client.clone();
        calls.spawn(async move { call_each(&client, &format!("r-{number}")).await });
    }
    for answer in calls.join_all().await.into_iter().flatten() {
        assert_unavailable(&answer.unwrap_err());
    }
}

/// Takes the database away, makes calls, and brings it back.
pub(crate) async fn goes_away(rig: &mut Rig, link: Link) {
    let mut watch = rig.watch().await;
    rig.network.set(link);
    // Before anybody knows: these find it out.
    all_fail(rig).await;
    rig.becomes(false).await;

    let made = rig.network.made();
    all_fail(rig).await;
    let made = rig.network.made() - made;
    // Only the check of readiness makes some, and it does so ten times a second at most.
    assert!(made < MANY, "a call does not wait for a connection of its own: {made}");

    rig.network.set(Link::Up);
    rig.becomes(true).await;
    serves_again(rig).await;
    // What happened since is told by the stream that was there before: it did not break.
    let taken = crate::support::calls::revoke_all(&mut rig.client, "bob", "phone").await;
    assert!(taken > 0);
    eventually("the watcher hears of it", async || {
        let status = watch.message().await.unwrap().unwrap().pool_status.unwrap();
        status.pools[0].available == 0 && status.pools[0].revoked >= u64::from(taken)
    })
    .await;
}
