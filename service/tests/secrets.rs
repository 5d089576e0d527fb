//! What must not be in a log: the database's password, callers' tokens, and packages.

#![allow(unreachable_pub, clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use keypool_proto::v1::{
    self, AllKeyPackages, CredentialSelector, GetPoolStatusRequest, ListSpendLogRequest,
    ReconcilePoolRequest, SpendLogFilter, UnusableReason, WatchPoolRequest,
    audit_service_client::AuditServiceClient, key_package_service_client::KeyPackageServiceClient,
    revoke_key_packages_request::Selector,
};
use keypool_service::testing::{database::TestDatabase, packages::PackageMaker};
use rustix::process::{Pid, Signal, kill_process};
use std::{fs::File, io::Read, path::PathBuf, process::Stdio};
use support::{
    calls::{eventually, extend_request, named, release_request, revoke_request},
    device,
    process::keypool,
    reserve_request, spend_request, upload_request,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

const PASSWORD: &str = "planted-password-Zk93";
const TOKEN: &str = "planted-bearer-token-Qx71";
const MARKER: &[u8] = b"planted application data \xfe\xed\xfa\xce";

/// A value and its name, in the ways in which it could be written.
struct Secret {
    name: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    fn new(name: &'static str, value: &[u8]) -> Self {
        let hex = |digits: fn(&u8) -> String| value.iter().map(digits).collect::<String>();
        let mut forms = vec![
            value.to_vec(),
            value.escape_ascii().to_string().into_bytes(),
            hex(|byte| format!("{byte:02x}")).into_bytes(),
            hex(|byte| format!("{byte:02X}")).into_bytes(),
            value.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into_bytes(),
            value.iter().map(u8::to_string).collect::<Vec<_>>().join(",").into_bytes(),
        ];
        // As it is within a longer text, behind any number of bytes.
        for skipped in 0..3 {
            let text = base64(&value[skipped..]);
            forms.push(text.replace('+', "-").replace('/', "_").into_bytes());
            forms.push(text.into_bytes());
        }
        Self { name, forms }
    }

    fn is_in(&self, log: &[u8]) -> Option<String> {
        let found = self.forms.iter().find(|form| contains(log, form))?;
        Some(format!("{}, as {}", self.name, found.escape_ascii()))
    }
}

/// Each whole group of three bytes as four letters.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(LETTERS[bits >> shift & 63]))
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// A `keypool` that logs all it can, into files.
struct Logging {
    child: Child,
    folder: TempDir,
}

impl Logging {
    fn start(database_url: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name| Stdio::from(File::create(folder.path().join(name)).unwrap());
        let child = Command::from(keypool(arguments))
            .env("KEYPOOL_LOG", "trace")
            .env("KEYPOOL_LISTEN", "127.0.0.1:0")
            .env("KEYPOOL_ADMIN_LISTEN", "127.0.0.1:0")
            .env("KEYPOOL_DATABASE_URL", database_url)
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    fn written(&self, name: &str) -> Vec<u8> {
        let path: PathBuf = self.folder.path().join(name);
        let mut written = Vec::new();
        File::open(path).unwrap().read_to_end(&mut written).unwrap();
        written
    }

    fn address(&self) -> Option<String> {
        let text = String::from_utf8(self.written("stdout")).unwrap();
        let (line, _) = text.split_once('\n')?;
        Some(line.strip_prefix("keypool listening on ").unwrap().to_owned())
    }

    async fn channel(&self) -> Channel {
        eventually("keypool listens", async || self.address().is_some()).await;
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address().unwrap()));
        endpoint.unwrap().connect().await.unwrap()
    }

    fn terminate(&self) {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Ends it once it waits for its database, unless it ends by itself.
    async fn waits_or_ends(&mut self) {
        eventually("it waits or ends", async || {
            let ended = self.child.try_wait().unwrap().is_some();
            if !ended && self.address().is_some() {
                self.terminate();
            }
            ended
        })
        .await;
    }

    /// Everything that it wrote, when it has ended.
    async fn output(mut self) -> Vec<u8> {
        self.child.wait().await.unwrap();
        [self.written("stdout"), self.written("stderr")].concat()
    }
}

/// The database's URL with another user's name and password.
fn url_of(database: &TestDatabase, user: &str, password: &str) -> String {
    let url = database.url();
    let (_, host) = url.split_once('@').unwrap();
    format!("postgresql://{user}:{password}@{host}")
}

async fn create_user(database: &TestDatabase) {
    let (client, connection) = database.config().connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let create = format!("CREATE ROLE planted SUPERUSER LOGIN PASSWORD '{PASSWORD}'");
    client.batch_execute(&create).await.unwrap();
}

fn with_token(mut request: Request<()>) -> Result<Request<()>, Status> {
    let token = format!("Bearer {TOKEN}").parse().unwrap();
    request.metadata_mut().insert("authorization", token);
    Ok(request)
}

/// Calls every method, well and badly, with packages.
async fn call_everything(channel: Channel, packages: &[Vec<u8>]) {
    let mut client = KeyPackageServiceClient::with_interceptor(channel.clone(), with_token);
    let mut audit = AuditServiceClient::with_interceptor(channel, with_token);
    let (user, phone) = ("bob", "phone");

    let watch = WatchPoolRequest { user_id: user.into(), device_id: phone.into() };
    let mut watch = client.watch_pool(watch).await.unwrap().into_inner();
    let spoiled = packages.iter().map(|package| package[..package.len() - 1].to_vec());
    let sent = [packages.to_vec(), spoiled.collect()].concat();
    let uploaded = client.upload_key_packages(upload_request(user, phone, sent)).await.unwrap();
    let accepted = uploaded.into_inner().results;
    assert_eq!(accepted[0].outcome(), v1::UploadOutcome::Accepted, "{:?}", accepted[0]);
    watch.message().await.unwrap().unwrap();

    let status = GetPoolStatusRequest { user_id: user.into(), device_id: phone.into() };
    client.get_pool_status(status).await.unwrap();
    let mut held = Vec::new();
    for reservation in ["spent", "released", "lapsed"] {
        let reserve = reserve_request(reservation, vec![device(user, phone)]);
        let reserved = client.reserve_key_packages(reserve).await.unwrap().into_inner();
        held.push(named(&reserved.reservation.unwrap().packages[0]));
    }
    client.extend_reservation(extend_request("spent", held[0].clone())).await.unwrap();
    client.spend_reservation(spend_request("spent", held[0].clone())).await.unwrap();
    client.spend_reservation(spend_request("other", held[0].clone())).await.unwrap_err();
    let release = release_request("released", held[1].clone(), UnusableReason::Malformed);
    client.release_reservation(release).await.unwrap();
    let reconcile = ReconcilePoolRequest {
        user_id: user.into(),
        device_id: phone.into(),
        key_package_refs: vec![held[2][0].key_package_ref.clone()],
        as_of: None,
    };
    client.reconcile_pool(reconcile).await.unwrap();
    for selector in [
        Selector::Credential(CredentialSelector {
            credential: packages[0].clone(),
            signature_key: MARKER.to_vec(),
        }),
        Selector::All(AllKeyPackages {}),
    ] {
        client.revoke_key_packages(revoke_request(user, phone, selector)).await.unwrap();
    }
    let of_nobody = GetPoolStatusRequest { user_id: "nobody".into(), device_id: String::new() };
    client.get_pool_status(of_nobody).await.unwrap_err();
    let filter = Some(SpendLogFilter { user_id: user.into(), ..SpendLogFilter::default() });
    let log = ListSpendLogRequest { filter, ..ListSpendLogRequest::default() };
    let log = audit.list_spend_log(log).await.unwrap().into_inner();
    assert!(!log.entries.is_empty());
}

#[tokio::test]
async fn the_log_shows_no_secret_at_any_level() {
    let database = TestDatabase::create().await;
    create_user(&database).await;
    let one_time = PackageMaker::new("bob", "phone").application_data(MARKER);
    let last_resort = PackageMaker::new("bob", "phone").application_data(MARKER).last_resort();
    let packages = [one_time.make_many(4), vec![last_resort.make()]].concat();

    let good = url_of(&database, "planted", PASSWORD);
    let keypool = Logging::start(&good, &["serve"]);
    call_everything(keypool.channel().await, &packages).await;
    keypool.terminate();
    let mut log = keypool.output().await;
    assert!(contains(&log, b"\"level\":\"DEBUG\""), "its own targets are logged below INFO");

    // Databases that refuse, aren't there, or aren't databases.
    for url in [
        url_of(&database, "nobody", PASSWORD),
        format!("postgresql://planted:{PASSWORD}@127.0.0.1:1/none"),
        format!("postgresql://planted:{PASSWORD}@[/none"),
        format!("postgresql://planted:{PASSWORD}@localhost/none?unknown={PASSWORD}"),
    ] {
        for command in ["serve", "status"] {
            let mut keypool = Logging::start(&url, &[command]);
            keypool.waits_or_ends().await;
            log.extend(keypool.output().await);
        }
        log.extend(Logging::start(&good, &["check-config"]).output().await);
    }

    let secrets = [
        Secret::new("the password", PASSWORD.as_bytes()),
        Secret::new("the token", TOKEN.as_bytes()),
        Secret::new("a package's application data", MARKER),
        Secret::new("a package's init key", &packages[0][5..37]),
        Secret::new("a last-resort package's init key", &packages[4][5..37]),
    ];
    let leaked: Vec<_> = secrets.iter().filter_map(|secret| secret.is_in(&log)).collect();
    assert!(leaked.is_empty(), "{} bytes of log show {leaked:#?}", log.len());
}

#[test]
fn a_secret_is_found_in_every_form() {
    let secret = Secret::new("a secret", b"\x00secret\xff?>~");
    for log in [
        &b"a \x00secret\xff?>~."[..],
        b"00736563726574ff3f3e7e",
        b"00736563726574FF3F3E7E",
        b"[0, 115, 101, 99, 114, 101, 116, 255, 63, 62, 126]",
        br"\x00secret\xff?>~",
        b"AHNlY3JldP8/Pn4=",
        b"eABzZWNyZXT/Pz5+",
        b"eHgAc2VjcmV0_z8-fg",
    ] {
        assert!(secret.is_in(log).is_some(), "{}", log.escape_ascii());
    }
    assert!(secret.is_in(b"nothing of that kind").is_none());
}
