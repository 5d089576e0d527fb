//! TLS to PostgreSQL.

use super::{
    authority::{Authority, Files},
    support::{Client as Caller, calls::eventually, device, reserve},
};
use keypool_service::{
    clock::SystemClock,
    config::{Config, DatabaseTlsConfig, DatabaseUrl},
    server::{Database, Server},
    testing::database::TestCluster,
};
use std::{error::Error, sync::Arc};
use tokio_postgres::{Client, NoTls};
use tonic::Code;

/// A PostgreSQL with TLS as `localhost`.
pub(super) struct Rig {
    cluster: TestCluster,
    servers: Authority,
    pub(super) clients: Authority,
    pub(super) files: Files,
}

impl Rig {
    pub(super) async fn start() -> Self {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let pair = servers.issue("localhost");
        let cluster = TestCluster::with_tls(&pair.certificate, &pair.key, &clients.root()).await;
        Self { cluster, servers, clients, files: Files::new() }
    }

    pub(super) fn config(&self, host: &str, sslmode: &str) -> Config {
        let config = self.cluster.config();
        let password = String::from_utf8(config.get_password().unwrap().to_vec()).unwrap();
        let (user, database) = (config.get_user().unwrap(), config.get_dbname().unwrap());
        let port = self.cluster.port().unwrap();
        let url = format!("postgres://{user}:{password}@{host}:{port}/{database}{sslmode}");
        let anywhere = ([127, 0, 0, 1], 0).into();
        Config {
            listen: anywhere,
            admin_listen: anywhere,
            database_url: Some(DatabaseUrl::new(url)),
            database_tls: self.trusting(&self.servers),
            ..Config::default()
        }
    }

    fn trusting(&self, authority: &Authority) -> DatabaseTlsConfig {
        let ca = self.files.write("ca.crt", &authority.root());
        DatabaseTlsConfig { ca: Some(ca), ..DatabaseTlsConfig::default() }
    }

    pub(super) async fn admin(&self) -> Client {
        let (client, connection) = self.cluster.config().connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Makes PostgreSQL ask for certificates over the network, and returns the role that they must be for.
    pub(super) async fn require_certificates(&self) -> String {
        let user = self.cluster.config().get_user().unwrap().to_owned();
        let rules = format!(
            "COPY (VALUES ('local all all scram-sha-256'), ('hostssl all {user} all cert')) \
             TO PROGRAM 'cat > pg_hba.conf'"
        );
        let admin = self.admin().await;
        admin.batch_execute(&rules).await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        eventually("the rules are in force", async || {
            refusal(&self.config("localhost", "?sslmode=disable")).await.contains("no encryption")
        })
        .await;
        user
    }

    /// How many connections over the network there are: by TLS, and in plain text.
    async fn connections(&self) -> (i64, i64) {
        let query = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl) \
                     FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE client_addr IS NOT NULL";
        let row = self.admin().await.query_one(query, &[]).await.unwrap();
        (row.get(0), row.get(1))
    }
}

/// A call that needs a lane.
async fn call(client: &mut Caller) {
    let refused = reserve(client, "r", vec![device("nobody", "phone")]).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
}

/// How a service that starts with a configuration reaches its database.
async fn reach(rig: &Rig, config: &Config) -> (i64, i64) {
    let server = Server::start(config, Arc::new(SystemClock)).await.unwrap();
    let mut client = Caller::connect(format!("http://{}", server.address())).await.unwrap();
    call(&mut client).await;
    let connections = rig.connections().await;
    server.stop().await.unwrap();
    connections
}

/// Why the database can't be reached.
async fn refusal(config: &Config) -> String {
    let error = match Database::open(config).await {
        Ok(database) => database.migrate().await.unwrap_err(),
        Err(error) => error,
    };
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said += &format!(": {error}");
        cause = error.source();
    }
    said
}

/// The parameters of a URL, with the root of the servers' certificates.
fn in_url(rig: &Rig, parameters: &str) -> String {
    let ca = rig.trusting(&rig.servers).ca.unwrap();
    format!("{parameters}&sslrootcert={}", ca.display())
}

#[tokio::test]
async fn tls_is_verified_in_full() {
    let rig = Rig::start().await;
    for mode in ["?sslmode=verify-full", "?sslmode=verify-ca", "?sslmode=require"] {
        let (by_tls, plain) = reach(&rig, &rig.config("localhost", mode)).await;
        // One of the pool's, and a lane's.
        assert!(by_tls >= 2 && plain == 0, "{mode}: {by_tls} {plain}");
        let mut config = rig.config("localhost", &in_url(&rig, mode));
        config.database_tls = DatabaseTlsConfig::default();
        assert!(reach(&rig, &config).await.0 >= 2, "the root is named in the URL");

        let other_name = refusal(&rig.config("127.0.0.1", mode)).await;
        assert!(other_name.contains("not valid for name"), "{other_name}");
        assert!(other_name.contains("by TLS") && other_name.contains("the host in the URL"));
        let mut config = rig.config("localhost", mode);
        config.database_tls = rig.trusting(&Authority::new("servers"));
        let other_ca = refusal(&config).await;
        assert!(other_ca.contains("invalid peer certificate"), "{other_ca}");
        assert!(other_ca.contains("database_tls.ca"), "{other_ca}");
    }
}

#[tokio::test]
async fn on_loopback_tls_must_be_asked_for() {
    let rig = Rig::start().await;
    for mode in ["", "?sslmode=prefer", "?sslmode=disable"] {
        let (by_tls, plain) = reach(&rig, &rig.config("localhost", mode)).await;
        assert!(by_tls == 0 && plain >= 2, "{mode}: {by_tls} {plain}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_database_that_asks_for_one() {
    let rig = Rig::start().await;
    let user = rig.require_certificates().await;
    let mut config = rig.config("localhost", "?sslmode=verify-full");
    let without = refusal(&config).await;
    assert!(without.contains("certificate"), "{without}");
    for (clients, accepted) in [(&rig.clients, true), (&Authority::new("clients"), false)] {
        let pair = clients.issue_to_user(&user);
        config.database_tls.certificate = Some(rig.files.write("me.crt", &pair.certificate));
        config.database_tls.key = Some(rig.files.write("me.key", &pair.key));
        if accepted {
            assert!(reach(&rig, &config).await.0 >= 2);
        } else {
            refusal(&config).await;
        }
    }
}

#[tokio::test]
async fn files_that_can_not_be_used_are_named() {
    let files = Files::new();
    let authority = Authority::new("servers");
    let (pair, other) = (authority.issue("me"), authority.issue("me"));
    let ca = files.write("ca.crt", &authority.root());
    let certificate = files.write("me.crt", &pair.certificate);
    let others_key = files.write("other.key", &other.key);
    let url = "postgres://db.invalid/keypool";
    let cases = [
        (files.path("missing.crt"), None, None, "database_tls.ca: can't read"),
        (others_key.clone(), None, None, "database_tls.ca: "),
        (ca, Some(certificate), Some(others_key), "database_tls.certificate, database_tls.key: "),
    ];
    for (ca, certificate, key, says) in cases {
        let config = Config {
            database_url: Some(DatabaseUrl::new(url.to_owned())),
            database_tls: DatabaseTlsConfig { ca: Some(ca), certificate, key },
            ..Config::default()
        };
        let said = refusal(&config).await;
        assert!(said.contains(says), "{says}: {said}");
    }
}
