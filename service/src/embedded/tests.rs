use super::{cluster::Cluster, orphan::is_postmaster_of, *};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, Permissions},
    mem,
    os::unix::fs::PermissionsExt,
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

/// A folder that the account which PostgreSQL runs as can pass through.
fn folder() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o711)).tempdir().unwrap()
}

async fn start(data_dir: &Path) -> EmbeddedPostgres {
    EmbeddedPostgres::start(Options::new(data_dir)).await.unwrap()
}

async fn connect(postgres: &EmbeddedPostgres) -> Client {
    let (client, connection) = postgres.config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn write_row(postgres: &EmbeddedPostgres) {
    let create = "CREATE TABLE kept (value int); INSERT INTO kept VALUES (42)";
    connect(postgres).await.batch_execute(create).await.unwrap();
}

async fn read_row(postgres: &EmbeddedPostgres) -> i32 {
    connect(postgres).await.query_one("SELECT value FROM kept", &[]).await.unwrap().get(0)
}

async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < deadline, "never happened");
        sleep(Duration::from_millis(10)).await;
    }
}

fn pid(postgres: &EmbeddedPostgres) -> Pid {
    orphan::postmaster_pid(&cluster_of(postgres)).unwrap()
}

fn cluster_of(postgres: &EmbeddedPostgres) -> PathBuf {
    postgres.data_dir().join("postgres")
}

#[tokio::test]
async fn keeps_data_between_runs() {
    let folder = folder();
    let data_dir = folder.path().join("data");

    let postgres = start(&data_dir).await;
    write_row(&postgres).await;
    postgres.stop().await.unwrap();

    let postgres = start(&data_dir).await;
    assert_eq!(read_row(&postgres).await, 42);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn has_one_owner() {
    let folder = folder();
    let postgres = start(folder.path()).await;

    let error = EmbeddedPostgres::start(Options::new(folder.path())).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use by another keypool"), "{error}");

    postgres.stop().await.unwrap();
    start(folder.path()).await.stop().await.unwrap();
}

#[tokio::test]
async fn comes_back_after_kill_9() {
    let folder = folder();
    let postgres = start(folder.path()).await;
    write_row(&postgres).await;
    let client = connect(&postgres).await;

    kill_process(pid(&postgres), Signal::KILL).unwrap();

    eventually(async || client.is_closed()).await;
    eventually(async || postgres.config().connect(NoTls).await.is_ok()).await;
    assert_eq!(read_row(&postgres).await, 42);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn stops_in_the_midst_of_a_restart() {
    let folder = folder();
    let postgres = start(folder.path()).await;
    let cluster = cluster_of(&postgres);
    let pid = pid(&postgres);

    kill_process(pid, Signal::KILL).unwrap();
    eventually(async || !is_postmaster_of(pid, &cluster)).await;
    postgres.stop().await.unwrap();

    start(folder.path()).await.stop().await.unwrap();
}

#[tokio::test]
async fn takes_over_from_a_killed_keypool() {
    let folder = folder();
    let postgres = start(folder.path()).await;
    write_row(&postgres).await;
    let cluster = cluster_of(&postgres);
    postgres.stop().await.unwrap();

    let killed = Cluster::prepare(&Options::new(folder.path())).await.unwrap();
    let orphan = killed.launch().await.unwrap();
    let orphaned = orphan.pid().unwrap();
    mem::forget(orphan);
    drop(killed);
    assert!(is_postmaster_of(orphaned, &cluster));

    let postgres = start(folder.path()).await;
    assert!(!is_postmaster_of(orphaned, &cluster));
    assert_eq!(read_row(&postgres).await, 42);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn ignores_a_pid_that_now_is_another_process() {
    let folder = folder();
    let postgres = start(folder.path()).await;
    let pid_file = cluster_of(&postgres).join("postmaster.pid");
    postgres.stop().await.unwrap();

    fs::write(pid_file, format!("{}\n", std::process::id())).unwrap();
    start(folder.path()).await.stop().await.unwrap();
}

#[tokio::test]
async fn starts_anew_after_half_an_initdb() {
    let folder = folder();
    let half = folder.path().join("initdb-crashed");
    fs::create_dir_all(half.join("postgres")).unwrap();
    fs::write(half.join("postgres/PG_VERSION"), "15\n").unwrap();
    fs::write(folder.path().join("password"), "of no cluster").unwrap();

    let postgres = start(folder.path()).await;
    connect(&postgres).await;
    assert!(!half.exists());
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn starts_anew_after_a_start_that_was_cut_short() {
    let folder = folder();
    let halfway = eventually(async || {
        let entries = fs::read_dir(folder.path()).unwrap().flatten();
        entries.map(|entry| entry.path().join("postgres")).any(|cluster| cluster.exists())
    });
    tokio::select! {
        _ = EmbeddedPostgres::start(Options::new(folder.path())) => panic!("it was done at once"),
        () = halfway => {}
    }
    assert!(!folder.path().join("postgres").exists());

    let postgres = start(folder.path()).await;
    connect(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn lives_in_a_deep_folder() {
    let folder = folder();
    let postgres = start(&folder.path().join("deep, \"quoted\"/".repeat(10))).await;
    connect(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn lives_in_an_oddly_named_folder() {
    let folder = folder();
    let postgres = start(&folder.path().join(" a, \"b\" 'c' ")).await;
    connect(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn stops_soon_with_open_connections() {
    let folder = folder();
    let postgres = start(folder.path()).await;
    let client = connect(&postgres).await;
    client.batch_execute("BEGIN; CREATE TABLE uncommitted ()").await.unwrap();
    let (busy, _) = tokio::join!(
        // Ended by the stop.
        client.batch_execute("SELECT pg_sleep(60)"),
        async {
            let started = Instant::now();
            postgres.stop().await.unwrap();
            assert!(started.elapsed() < Duration::from_secs(5));
        }
    );
    busy.unwrap_err();
}

#[tokio::test]
async fn stops_when_dropped() {
    let folder = folder();
    let postgres = start(folder.path()).await;
    let (pid, cluster) = (pid(&postgres), cluster_of(&postgres));
    drop(postgres);
    eventually(async || !is_postmaster_of(pid, &cluster)).await;
}

#[tokio::test]
async fn tells_why_it_does_not_start() {
    let folder = folder();
    let mut options = Options::new(folder.path());
    options.settings.push(("no_such_setting".to_owned(), "1".to_owned()));
    let error = EmbeddedPostgres::start(options).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Exits { .. }), "{error}");
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn keeps_the_password_to_itself() {
    let folder = folder();
    let data_dir = folder.path().join("data");
    let postgres = start(&data_dir).await;

    let file = data_dir.join("password");
    let password = fs::read_to_string(&file).unwrap();
    assert_eq!(password.len(), 32);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{postgres:?} {:?}", postgres.config()).contains(&password));
    let log = fs::read_to_string(data_dir.join("postgres.log")).unwrap();
    assert!(!log.contains(&password));

    let mut config = postgres.config();
    config.password("another");
    config.connect(NoTls).await.map(|_| ()).unwrap_err();
    postgres.stop().await.unwrap();
}
