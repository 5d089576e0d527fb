//! `keypool doctor` finds what is wrong, and says what to do.

use super::{
    fails, keypool, run, stdout,
    support::{calls::eventually, client, fill, locks::connect},
};
use jiff::{SignedDuration, tz::TimeZone};
use keypool_service::{
    clock::{Clock, SystemClock},
    testing::{
        database::{TestCluster, TestDatabase},
        server::TestServer,
    },
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use serde_json::Value;
use std::{collections::BTreeMap, fs::Permissions, os::unix::fs::PermissionsExt, path::PathBuf};

/// What is found with these settings, by what it is about: the worst, and what it says.
async fn findings(settings: &[(&str, &str)]) -> (i32, BTreeMap<String, (String, String)>) {
    let mut command = keypool(&["doctor", "--json"]);
    command.env("KEYPOOL_LISTEN", "127.0.0.1:0").env("KEYPOOL_ADMIN_LISTEN", "127.0.0.1:0");
    for (name, value) in settings {
        command.env(format!("KEYPOOL_{name}"), value);
    }
    let output = run(command).await;
    let all: Vec<Value> = serde_json::from_str(stdout(&output)).unwrap();
    let mut found = BTreeMap::new();
    let rank = |state: &str| ["ok", "warning", "failed"].iter().position(|one| *one == state);
    for finding in all {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let (state, says) = (text("state"), format!("{} {}", text("says"), text("advice")));
        let before: &mut (String, String) = found.entry(text("about")).or_default();
        if rank(&state) > rank(&before.0) || before.0.is_empty() {
            *before = (state, says);
        } else if state == before.0 {
            before.1.push_str(&says);
        }
    }
    (output.status.code().unwrap(), found)
}

fn assert_found(found: &BTreeMap<String, (String, String)>, about: &str, state: &str, says: &str) {
    let (is, text) = &found[about];
    assert_eq!(is, state, "{about}: {text}");
    assert!(text.contains(says), "{about}: {text}");
}

/// A database whose tables belong to another role than the one that serves, and the latter's URL.
async fn separate_roles() -> (TestCluster, TestDatabase, String) {
    let cluster = TestCluster::durable().await;
    let database = TestDatabase::create_in(&cluster).await;
    let role = format!("runtime_{}", database.config().get_dbname().unwrap());
    let owner = connect(&database.config()).await;
    let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'");
    owner.batch_execute(&create).await.unwrap();
    let mut migrate = keypool(&["migrate", "--database-url", &database.url()]);
    migrate.env("KEYPOOL_RUNTIME_ROLE", &role);
    assert!(run(migrate).await.status.success());
    let url = database.url_as(&role, "secret");
    (cluster, database, url)
}

#[tokio::test]
async fn nothing_is_wrong_with_what_is_as_documented() {
    let (_cluster, _database, url) = separate_roles().await;
    let (code, found) = findings(&[("DATABASE_URL", &url), ("MIGRATE_ON_START", "false")]).await;
    assert!(found.values().all(|(state, _)| state == "ok"), "{found:#?}");
    assert_eq!(code, 0);
    for about in ["database", "durability", "connections", "clock", "schema", "rights", "fence"] {
        assert!(found.contains_key(about), "{about}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_database_is_found() {
    let (_cluster, database, url) = separate_roles().await;
    let name = database.config().get_dbname().unwrap().to_owned();
    let owner = connect(&database.config()).await;
    let worsen = format!("REVOKE UPDATE (held_until) ON one_time FROM runtime_{name}");
    owner.batch_execute(&worsen).await.unwrap();
    let raise = keypool(&["fence", "--database-url", &database.url()]);
    assert!(run(raise).await.status.success());
    let settings = [
        ("DATABASE_URL", &*url),
        ("DATABASE_CONNECTIONS", "5000"),
        ("SYNCHRONOUS_STANDBYS", "true"),
    ];
    let (code, found) = findings(&settings).await;
    assert_eq!(code, 1);
    assert_found(&found, "rights", "failed", "lacks UPDATE (held_until) ON one_time");
    assert_found(&found, "durability", "failed", "waits for no standby");
    assert_found(&found, "connections", "failed", "5006");
    assert_found(&found, "fence", "warning", "is up since");

    let (_, found) = findings(&[("DATABASE_URL", &database.url())]).await;
    assert_found(&found, "rights", "warning", "may change the tables");
}

#[tokio::test]
async fn a_schema_that_is_behind_needs_a_migration() {
    let database = TestDatabase::create().await;
    let url = database.url();
    let (_, found) = findings(&[("DATABASE_URL", &url), ("MIGRATE_ON_START", "false")]).await;
    assert_found(&found, "schema", "failed", "keypool migrate");
    let (_, found) = findings(&[("DATABASE_URL", &url)]).await;
    assert_found(&found, "schema", "ok", "when it starts");
}

#[tokio::test]
async fn what_can_not_be_reached_is_found() {
    let nobody = "postgres://nobody:secret@127.0.0.1:1/keypool";
    let settings = [("DATABASE_URL", nobody), ("TELEMETRY__OTLP_ENDPOINT", "http://127.0.0.1:1")];
    let (code, found) = findings(&settings).await;
    assert_eq!(code, 1);
    assert_found(&found, "database", "failed", "Connection refused");
    assert_found(&found, "traces", "warning", "can't be reached");
    assert!(found.values().all(|(_, says)| !says.contains("secret")), "{found:#?}");
}

/// A certificate that ends after so many days, and its key, which nobody else may read.
fn write_certificate([certificate, key]: &[PathBuf; 2], days: i64) {
    let pair = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let time = |days: i64| {
        let time = SystemClock.now() + SignedDuration::from_hours(days * 24);
        let date = time.to_zoned(TimeZone::UTC).date();
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        date_time_ymd(date.year().into(), month, day)
    };
    (parameters.not_before, parameters.not_after) = (time(-9), time(days));
    std::fs::write(certificate, parameters.self_signed(&pair).unwrap().pem()).unwrap();
    std::fs::write(key, pair.serialize_pem()).unwrap();
    std::fs::set_permissions(key, Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn certificates_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["tls.crt", "tls.key"].map(|file| folder.path().join(file));
    let [certificate, key] = files.each_ref().map(|file| file.to_str().unwrap());
    let settings = [
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/keypool"),
        ("TLS__CERTIFICATE", certificate),
        ("TLS__KEY", key),
    ];
    for (days, state, says) in
        [(100, "ok", "ends at"), (3, "warning", "renew"), (-3, "failed", "refuse")]
    {
        write_certificate(&files, days);
        let (_, found) = findings(&settings).await;
        assert_found(&found, "tls", state, says);
    }
    std::fs::write(key, "no key").unwrap();
    let (_, found) = findings(&settings).await;
    assert_found(&found, "tls", "failed", "tls.key");
}

/// A root certificate that is valid in these years.
fn root(years: (i32, i32)) -> String {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (parameters.not_before, parameters.not_after) =
        (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

#[tokio::test]
async fn roots_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["tls.crt", "tls.key"].map(|file| folder.path().join(file));
    write_certificate(&files, 100);
    let [certificate, key] = files.each_ref().map(|file| file.to_str().unwrap());
    let ca = folder.path().join("ca.crt");
    let tokens = [
        ("AUTH__TOKENS__ISSUER", "issuer"),
        ("AUTH__TOKENS__AUDIENCE", "keypool"),
        ("AUTH__TOKENS__JWKS", "https://127.0.0.1:1/jwks"),
        ("AUTH__TOKENS__JWKS_CA", ca.to_str().unwrap()),
    ];
    let tls = [
        ("TLS__CERTIFICATE", certificate),
        ("TLS__KEY", key),
        ("TLS__CLIENT_CA", ca.to_str().unwrap()),
    ];
    let database = [("DATABASE_TLS__CA", ca.to_str().unwrap())];
    for (about, settings) in
        [("tokens", &tokens[..]), ("tls", &tls[..]), ("database", &database[..])]
    {
        let url = "postgres://nobody@127.0.0.1:1/keypool?sslmode=require";
        let settings = [&[("DATABASE_URL", url)], settings].concat();
        for (years, says) in
            [((2000, 2010), "expired at 2010-01-01"), ((3000, 3010), "not valid before 3000-01-01")]
        {
            std::fs::write(&ca, root(years)).unwrap();
            let (_, found) = findings(&settings).await;
            assert_found(&found, about, "failed", says);
            for command in ["check-config", "serve"] {
                let mut command = keypool(&[command]);
                for (name, value) in &settings {
                    command.env(format!("KEYPOOL_{name}"), value);
                }
                command.env("KEYPOOL_LISTEN", "127.0.0.1:0");
                command.env("KEYPOOL_ADMIN_LISTEN", "127.0.0.1:0");
                let error = fails(command, 1).await;
                assert!(error.contains(says) && error.contains("ca.crt"), "{error}");
            }
        }
        // One of two: the other is enough to serve.
        std::fs::write(&ca, [root((2000, 2010)), root((2000, 3000))].concat()).unwrap();
        let (_, found) = findings(&settings).await;
        assert_found(&found, "tls", "warning", "expired at 2010-01-01");
    }
}

#[tokio::test]
async fn a_service_that_runs_is_asked() {
    let server = TestServer::start().await;
    fill(&mut client(&server).await, "bob", "phone", 1).await;
    let admin = server.server().admin_address().to_string();
    let url = server.database().url();
    let (_, found) = findings(&[("DATABASE_URL", &url), ("ADMIN_LISTEN", &admin)]).await;
    assert_found(&found, "admin_listen", "ok", "served already");
    assert_found(&found, "readiness", "ok", "is ready");

    let ready = |address: &str| keypool(&["--admin-listen", address, "ready"]);
    assert_eq!(stdout(&run(ready(&admin)).await), "ready\n");
    server.clock().advance(SignedDuration::from_secs(5));
    eventually("it is not ready", async || {
        let output = run(ready(&admin)).await;
        output.status.code() == Some(1)
            && String::from_utf8_lossy(&output.stderr).contains("not ready: the clocks")
    })
    .await;
    assert_eq!(run(ready("127.0.0.1:1")).await.status.code(), Some(1));
}

#[tokio::test]
async fn a_wrong_configuration_is_a_finding() {
    let (code, found) = findings(&[("DATABASE_CONNECTIONS", "many")]).await;
    assert_eq!(code, 1);
    assert_found(&found, "configuration", "failed", "DATABASE_CONNECTIONS");
    assert_eq!(found.len(), 1, "there is nothing to go by: {found:?}");
}
