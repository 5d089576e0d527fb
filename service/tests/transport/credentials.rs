//! A password and certificates that change while the service runs.

use super::{
    authority::{Authority, Files},
    support::{
        Client as Caller,
        calls::eventually,
        device, http,
        locks::{Ended, connect},
        reason, reserve,
    },
};
use keypool_proto::v1::ErrorReason;
use keypool_service::{
    clock::SystemClock,
    config::{Config, ConfigError, DatabaseUrl},
    server::{Database, Server, ServerError},
    testing::database::TestDatabase,
};
use std::{path::PathBuf, sync::Arc};
use tokio_postgres::Client;

/// A database whose role gets another password, and a service that logs in with the password in a file.
struct Rig {
    admin: Client,
    role: String,
    file: PathBuf,
    files: Files,
    server: Server,
    database: TestDatabase,
}

impl Rig {
    async fn start() -> Self {
        let database = TestDatabase::create().await;
        let admin = connect(&database.config()).await;
        let role = database.create_owner("first").await;
        let files = Files::new();
        let file = files.write("password", "first\n");
        let config = config(&database.url_as(&role, "outdated"), &file);
        let server = Server::start(&config, Arc::new(SystemClock)).await.unwrap();
        Self { admin, role, file, files, server, database }
    }

    /// Changes the password, and ends the sessions of before.
    async fn rotate(&self, password: &str) -> Ended {
        let change = format!("ALTER ROLE {} PASSWORD '{password}'", self.role);
        self.admin.batch_execute(&change).await.unwrap();
        Ended::sessions(&self.database.config(), &format!("usename = '{}'", self.role)).await
    }

    /// A call, which needs a lane.
    async fn call(&self) -> ErrorReason {
        let endpoint = format!("http://{}", self.server.address());
        let mut client = Caller::connect(endpoint).await.unwrap();
        reason(&reserve(&mut client, "r", vec![device("nobody", "phone")]).await.unwrap_err())
    }

    async fn becomes(&self, status: u16, answer: ErrorReason) {
        eventually(&format!("/readyz says {status}, and calls {answer:?}"), async || {
            let ready = http::get(self.server.admin_address(), "/readyz").await.status;
            ready == status && self.call().await == answer
        })
        .await;
    }
}

fn config(url: &str, file: &std::path::Path) -> Config {
    let anywhere = ([127, 0, 0, 1], 0).into();
    Config {
        listen: anywhere,
        admin_listen: anywhere,
        database_url: Some(DatabaseUrl::new(url.to_owned())),
        database_password_file: Some(file.to_owned()),
        ..Config::default()
    }
}

#[tokio::test]
async fn a_new_password_is_taken_from_the_file_without_a_restart() {
    let rig = Rig::start().await;
    rig.becomes(200, ErrorReason::UnknownUser).await;

    let ended = rig.rotate("second").await;
    rig.becomes(503, ErrorReason::DatabaseUnavailable).await;
    drop(ended);
    std::fs::write(&rig.file, "second\r\n").unwrap();
    rig.becomes(200, ErrorReason::UnknownUser).await;

    // A file that is away for a moment, as while it is replaced: the password of before is used.
    std::fs::remove_file(&rig.file).unwrap();
    drop(rig.rotate("second").await);
    rig.becomes(200, ErrorReason::UnknownUser).await;
    let ended = rig.rotate("third").await;
    rig.becomes(503, ErrorReason::DatabaseUnavailable).await;
    drop(ended);
    rig.files.write("password", "third");
    rig.becomes(200, ErrorReason::UnknownUser).await;
    rig.server.stop().await.unwrap();
}

#[tokio::test]
async fn connections_have_a_name() {
    let rig = Rig::start().await;
    rig.becomes(200, ErrorReason::UnknownUser).await;
    let names = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE usename = $1";
    let names = rig.admin.query(names, &[&rig.role]).await.unwrap();
    assert!(names.len() == 1 && names[0].get::<_, &str>(0) == "keypool", "{names:?}");
    rig.server.stop().await.unwrap();
}

#[tokio::test]
async fn a_password_file_that_can_not_be_read_is_a_wrong_configuration() {
    let files = Files::new();
    let url = "postgres://me@db.invalid/keypool";
    for file in [files.path("missing"), files.write("empty", "\n"), files.path("")] {
        let error = Database::open(&config(url, &file)).await.unwrap_err();
        let ServerError::Config(error @ ConfigError::PasswordFile { .. }) = error else {
            panic!("{error:?}")
        };
        let said = error.to_string();
        assert!(said.contains("database_password_file"), "{said}");
    }
}

#[tokio::test]
async fn new_certificates_are_used_without_a_restart() {
    let rig = super::database::Rig::start().await;
    let user = rig.require_certificates().await;
    let mut config = rig.config("localhost", "?sslmode=verify-full");
    let pair = rig.clients.issue_to_user(&user);
    config.database_tls.certificate = Some(rig.files.write("me.crt", &pair.certificate));
    config.database_tls.key = Some(rig.files.write("me.key", &pair.key));
    let server = Server::start(&config, Arc::new(SystemClock)).await.unwrap();
    let ready = async |status: u16| {
        eventually(&format!("/readyz says {status}"), async || {
            http::get(server.admin_address(), "/readyz").await.status == status
        })
        .await;
    };
    ready(200).await;

    let admin = rig.admin().await;
    let serials = "SELECT client_serial::text FROM pg_stat_ssl WHERE client_serial IS NOT NULL";
    let first: String = admin.query(serials, &[]).await.unwrap()[0].get(0);
    let replace = |from: &Authority| {
        let pair = from.issue_to_user(&user);
        rig.files.write("me.crt", &pair.certificate);
        rig.files.write("me.key", &pair.key);
    };
    // Again and again: a connection that is being made with the first certificate may be there only after the first time.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_ssl WHERE client_serial::text = $1";
    replace(&Authority::new("clients"));
    eventually("/readyz says 503", async || {
        admin.execute(end, &[&first]).await.unwrap();
        http::get(server.admin_address(), "/readyz").await.status == 503
    })
    .await;
    replace(&rig.clients);
    ready(200).await;
    eventually("only the new certificate is shown", async || {
        admin.execute(end, &[&first]).await.unwrap();
        let shown = admin.query(serials, &[]).await.unwrap();
        !shown.is_empty() && shown.iter().all(|row| row.get::<_, &str>(0) != first)
    })
    .await;
    server.stop().await.unwrap();
}
