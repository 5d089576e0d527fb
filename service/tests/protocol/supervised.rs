//! A background task that ends makes the service not ready, says which it was, and takes the service down.

use super::support::{calls::eventually, http, process::DataDir};
use keypool_service::{
    clock::SystemClock,
    config::{Config, DatabaseUrl, TlsConfig},
    server::{Server, ServerError},
    testing::{database::TestDatabase, issuer::TestIssuer},
};
use rcgen::generate_simple_self_signed;
use std::{fs, net::Ipv4Addr, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};
use tokio::net::TcpStream;

/// How long it may take until the end of a task is known: far longer than it does.
const PATIENCE: Duration = Duration::from_secs(30);

/// A configuration with which every task runs but that of a private PostgreSQL.
fn everything(database: &TestDatabase, issuer: &TestIssuer, folder: &Path) -> Config {
    let tls = TlsConfig::new(folder.join("tls.crt"), folder.join("tls.key"));
    let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&tls.certificate, made.cert.pem()).unwrap();
    fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&tls.key, fs::Permissions::from_mode(0o600)).unwrap();
    Config {
        database_url: Some(DatabaseUrl::new(database.url())),
        auth: issuer.config(),
        tls: Some(tls),
        ..anywhere()
    }
}

fn anywhere() -> Config {
    let free = (Ipv4Addr::LOCALHOST, 0).into();
    Config { listen: free, admin_listen: free, ..Config::default() }
}

async fn start(config: &Config) -> Server {
    Server::start(config, Arc::new(SystemClock)).await.unwrap()
}

/// Ends a task, and checks that the service knows.
async fn ends_with(mut server: Server, name: &str) {
    let admin = server.admin_address();
    assert_eq!(http::get(admin, "/readyz").await.status, 200, "{name}");
    server.tasks().abort(name);
    let failed = tokio::time::timeout(PATIENCE, server.failed()).await;
    let error = failed.unwrap_or_else(|_| panic!("nobody misses {name}"));
    assert!(matches!(&error, ServerError::TaskEnded { task } if **task == *name), "{error:?}");
    assert_eq!(error.to_string(), format!("a task of the service has ended: {name}"));
    if name == "admin server" {
        let nobody = async || TcpStream::connect(admin).await.is_err();
        eventually("nobody answers probes", nobody).await;
    } else {
        let answer = http::get(admin, "/readyz").await;
        assert_eq!((answer.status, answer.text().trim()), (503, &*error.to_string()));
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn each_task_is_missed() {
    let (database, issuer) = (TestDatabase::create().await, TestIssuer::new());
    let folder = tempfile::tempdir().unwrap();
    let config = everything(&database, &issuer, folder.path());
    let server = start(&config).await;
    let names = server.tasks().names();
    server.stop().await.unwrap();
    for expected in ["sweeper", "fence guard", "lane hold 0", "token keys", "certificate reloader"]
    {
        assert!(names.iter().any(|name| **name == *expected), "{expected}: {names:?}");
    }
    for name in names {
        ends_with(start(&config).await, &name).await;
    }
}

#[tokio::test]
async fn what_keeps_the_private_postgresql_running_is_missed() {
    let data_dir = DataDir::new();
    let config = Config { data_dir: Some(data_dir.path()), ..anywhere() };
    ends_with(start(&config).await, "private PostgreSQL").await;
}

/// Tasks and threads of a single call, connection or command, which end with it, by file. All others are to be supervised.
const OWN_TASKS: [(&str, usize); 12] = [
    ("embedded/cluster.rs", 1),
    ("embedded/supervisor.rs", 1), // whose end is supervised
    ("grpc/key_package_service.rs", 1),
    ("lane/reserve/new_holds.rs", 1), // gives back what an abandoned call took
    ("pool/validator.rs", 1),         // whose threads outlive a panic
    ("server/database.rs", 1),
    ("store/connector.rs", 1),
    ("store/lent.rs", 1),
    ("store/migrate.rs", 1),
    ("supervise.rs", 2),
    ("telemetry/mod.rs", 1), // the last traces are sent
    ("transport/accept.rs", 1),
];

/// The lines of a file that begin a task or a thread without a supervisor.
fn spawns(code: &str) -> usize {
    let begins = |line: &&str| {
        let line = line.trim_start();
        let named = line.match_indices("spawn").any(|(at, found)| {
            let rest = &line[at + found.len()..];
            let rest = rest.trim_start_matches("_blocking").trim_start_matches("_local");
            rest.starts_with('(') && !rest.starts_with("()") // which begins a process
        });
        let supervised = line.contains("tasks.spawn(") || line.contains("fn spawn");
        named && !supervised && !line.starts_with("//")
    };
    code.lines().filter(begins).count()
}

#[test]
fn no_task_runs_unsupervised() {
    let mut found = Vec::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
            if name.starts_with("testing") || name.contains("tests") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            // Tests are at the end of a file.
            let end = text.find("#[cfg(test)]\nmod").or_else(|| text.find("#[cfg(all(test"));
            let begun = spawns(&text[..end.unwrap_or(text.len())]);
            if begun > 0 {
                found.push((name, begun));
            }
        }
    }
    found.sort();
    let found: Vec<_> = found.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(found, OWN_TASKS, "a task that lives as long as the service is one of `Supervisor`");
}
