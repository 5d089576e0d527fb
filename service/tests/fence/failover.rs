//! A real standby, promoted after its primary died.

use super::{
    beaten, beats, causes,
    support::{
        Client,
        calls::{eventually, reference, refs, reserve_one},
        client, fill, http, pool,
    },
    use_one, why_not,
};
use keypool_proto::v1::ErrorReason;
use keypool_service::{
    config::DatabaseUrl,
    testing::{
        database::{TestCluster, TestDatabase},
        server::TestServer,
    },
};
use tokio_postgres::Config;

/// A service that uses whichever of two servers is the primary.
struct Pair {
    primary: TestCluster,
    standby: TestCluster,
    /// The database on the standby.
    promoted: Config,
    server: TestServer,
    client: Client,
    packages: Vec<Vec<u8>>,
}

impl Pair {
    /// With four packages of bob's on both.
    async fn start(synchronous_standbys: bool) -> Self {
        let primary = TestCluster::durable().await;
        let standby = primary.standby().await;
        let database = TestDatabase::create_in(&primary).await;
        let mut promoted = standby.config();
        promoted.dbname(database.config().get_dbname().unwrap());
        let url = database.url_with_standby(&standby);
        let server = TestServer::start_with_database(database, |config| {
            config.database_url = Some(DatabaseUrl::new(url));
            config.synchronous_standbys = synchronous_standbys;
        })
        .await;
        let mut client = client(&server).await;
        let packages = refs(&fill(&mut client, "bob", "phone", 4).await);
        beaten(server.database().config(), 0, 1).await;
        primary.wait_until_applied_by(&standby).await;
        Self { primary, standby, promoted, server, client, packages }
    }

    /// The primary dies, and the standby takes over with what it has.
    async fn fail_over(self) -> (TestServer, TestCluster, Client, Config) {
        let Self { primary, standby, promoted, server, client, .. } = self;
        drop(primary);
        standby.promote().await;
        (server, standby, client, promoted)
    }
}

#[tokio::test]
async fn a_lagging_standby_hands_out_nothing_of_before() {
    let mut pair = Pair::start(false).await;
    pair.standby.cut_off().await;
    use_one(&mut pair.client, "one").await;
    let (_server, _standby, mut client, promoted) = pair.fail_over().await;
    assert_eq!(why_not(&mut client, "two").await, ErrorReason::PoolExhausted);
    assert_eq!(causes(promoted).await, ["other_timeline"]);
    assert_eq!(pool(&mut client, "bob", "phone").await.quarantined, 4);
}

#[tokio::test]
async fn a_synchronous_standby_goes_on_at_once() {
    let mut pair = Pair::start(true).await;
    let spent = use_one(&mut pair.client, "one").await;
    pair.primary.wait_until_applied_by(&pair.standby).await;
    let packages = pair.packages.clone();
    let (_server, _standby, mut client, promoted) = pair.fail_over().await;
    let mut got = vec![spent.key_package_ref];
    for reservation in ["two", "three", "four"] {
        eventually("the service has its database again", async || {
            let package = reserve_one(&mut client, reservation, "bob", "phone").await;
            package.map(|package| got.push(reference(&package))).is_ok()
        })
        .await;
    }
    got.sort();
    let mut packages = packages;
    packages.sort();
    assert_eq!(got, packages, "each of them once");
    assert_eq!(causes(promoted).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_standby_that_was_not_synchronous_after_all_is_found_out_by_a_running_service() {
    let mut pair = Pair::start(true).await;
    pair.standby.cut_off().await;
    let before = beats(pair.server.database().config()).await;
    use_one(&mut pair.client, "one").await;
    beaten(pair.server.database().config(), before, 1).await;
    let (_server, _standby, mut client, promoted) = pair.fail_over().await;
    assert_eq!(why_not(&mut client, "two").await, ErrorReason::PoolExhausted);
    assert_eq!(causes(promoted).await, ["fell_back"]);
}

#[tokio::test]
async fn a_service_on_a_standby_is_not_ready_until_it_is_promoted() {
    let Pair { standby, promoted, server, .. } = Pair::start(true).await;
    let url = server.database().url_on(&standby);
    let replica = TestServer::start_with_shared_database(server.database().clone(), |config| {
        config.database_url = Some(DatabaseUrl::new(url));
        config.synchronous_standbys = true;
    })
    .await;
    let ready = async || http::get(replica.server().admin_address(), "/readyz").await;
    eventually("it says why", async || ready().await.text().contains("standby")).await;
    assert_eq!(ready().await.status, 503);

    standby.promote().await;
    eventually("it is ready", async || ready().await.status == 200).await;
    use_one(&mut client(&replica).await, "one").await;
    assert_eq!(causes(promoted).await, Vec::<String>::new());
}
