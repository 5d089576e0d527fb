use super::{
    fails, file, keypool,
    support::{Client, fill, http, process::DataDir},
};
use keypool_service::testing::database::TestDatabase;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::{SocketAddr, TcpListener},
    process::{Command, ExitStatus, Stdio},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
};

const ANYWHERE: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

/// A service that runs until it is told to stop, or dropped.
struct Serving {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Serving {
    async fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = stdout.next_line().await.unwrap().unwrap_or_default();
        let Some(address) = first.strip_prefix("keypool listening on ") else {
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).await.unwrap();
            panic!("{first}{error}");
        };
        Self { child, stdout, address: address.parse().unwrap() }
    }

    async fn client(&self) -> Client {
        Client::connect(format!("http://{}", self.address)).await.unwrap()
    }

    /// The rest of what it says when it has started.
    async fn greeting(&mut self) -> String {
        let mut greeting = String::new();
        while !greeting.contains("stop with Ctrl-C") {
            greeting += &self.stdout.next_line().await.unwrap().unwrap();
            greeting += "\n";
        }
        greeting
    }

    /// Sends a signal, waits for the end, and returns what was logged.
    async fn stop(mut self, signal: Signal) -> (ExitStatus, String) {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
        (self.child.wait().await.unwrap(), log)
    }
}

fn on(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = keypool(arguments);
    command.env("KEYPOOL_DATABASE_URL", database.url());
    command
}

/// An address that somebody listens on.
fn taken() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn without_a_command_it_serves_until_it_is_told_to_stop() {
    let database = TestDatabase::create().await;
    for signal in [Signal::TERM, Signal::INT] {
        let mut serving = Serving::start(on(&database, &ANYWHERE)).await;
        fill(&mut serving.client().await, "bob", "phone", 1).await;
        let greeting = serving.greeting().await;
        assert!(greeting.contains(&format!("http://{}", serving.address)), "{greeting}");
        let admin = greeting.split_once("metrics: http://").unwrap().1.split_once('/').unwrap().0;
        assert_eq!(http::get(admin.parse().unwrap(), "/readyz").await.status, 200);
        let (status, _) = serving.stop(signal).await;
        assert_eq!(status.code(), Some(0));
    }
}

#[tokio::test]
async fn serve_takes_its_flags_before_and_after_the_command() {
    let database = TestDatabase::create().await;
    let before = [&ANYWHERE[..], &["serve"]].concat();
    let after = [&["serve"], &ANYWHERE[..]].concat();
    for arguments in [before, after] {
        let serving = Serving::start(on(&database, &arguments)).await;
        assert_ne!(serving.address.port(), 50051);
    }
}

#[tokio::test]
async fn addresses_come_from_variables_or_the_file_too() {
    let database = TestDatabase::create().await;
    let mut by_variables = on(&database, &["serve"]);
    by_variables.env("KEYPOOL_LISTEN", "127.0.0.2:0").env("KEYPOOL_ADMIN_LISTEN", "127.0.0.2:0");
    let (_folder, path) = file("listen = '127.0.0.3:0'\nadmin_listen = '127.0.0.3:0'");
    let by_file = on(&database, &["serve", "--config", path.to_str().unwrap()]);
    for (command, ip) in [(by_variables, "127.0.0.2"), (by_file, "127.0.0.3")] {
        assert_eq!(Serving::start(command).await.address.ip().to_string(), ip);
    }
}

#[tokio::test]
async fn other_addresses_than_loopback_are_served_only_if_asked_for() {
    let database = TestDatabase::create().await;
    for address in ["0.0.0.0:0", "[::]:0"] {
        let error = fails(on(&database, &["serve", "--listen", address]), 1).await;
        assert!(error.contains("loopback") && error.contains("--insecure"), "{error}");
    }
    let arguments = ["--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0", "--insecure"];
    let serving = Serving::start(on(&database, &arguments)).await;
    assert!(serving.address.ip().is_unspecified());
}

#[tokio::test]
async fn an_address_in_use_is_told_with_the_flag_that_changes_it() {
    let database = TestDatabase::create().await;
    let (_listener, taken) = taken();
    for flag in ["--listen", "--admin-listen"] {
        let mut arguments = ANYWHERE.to_vec();
        let position = arguments.iter().position(|argument| *argument == flag).unwrap();
        arguments[position + 1] = &taken;
        let error = fails(on(&database, &arguments), 1).await;
        assert!(error.contains(&format!("can't listen on {taken}")), "{error}");
        assert!(error.contains(&format!("another with {flag}\n")), "{error}");
    }
}

#[tokio::test]
async fn logs_are_json_for_programs_and_text_on_demand() {
    let database = TestDatabase::create().await;
    let (_, log) = Serving::start(on(&database, &ANYWHERE)).await.stop(Signal::TERM).await;
    for line in log.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(entry["level"].is_string(), "{line}");
    }
    assert!(log.contains("draining") && log.contains("stopped"), "{log}");
    let text = [&ANYWHERE[..], &["--log-format", "text"]].concat();
    let (_, log) = Serving::start(on(&database, &text)).await.stop(Signal::TERM).await;
    assert!(log.contains("INFO") && !log.contains('{'), "{log}");
}

#[tokio::test]
async fn without_a_database_it_brings_its_own_and_shares_it_with_nobody() {
    let data_dir = DataDir::new();
    let path = data_dir.path();
    let path = path.to_str().unwrap();
    let arguments = [&["--data-dir", path], &ANYWHERE[..]].concat();
    let mut serving = Serving::start(keypool(&arguments)).await;
    fill(&mut serving.client().await, "bob", "phone", 3).await;
    assert!(serving.greeting().await.contains(path));

    for command in ["serve", "migrate", "status", "sweep"] {
        let mut second = keypool(&[command, "--data-dir", path]);
        second.env("KEYPOOL_LISTEN", "127.0.0.1:0").env("KEYPOOL_ADMIN_LISTEN", "127.0.0.1:0");
        let error = fails(second, 1).await;
        assert!(error.contains(&format!("{path} is in use by another keypool")), "{error}");
    }
    assert_eq!(serving.stop(Signal::TERM).await.0.code(), Some(0));

    let status = super::succeeds(keypool(&["status", "--json", "--data-dir", path])).await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["available"], 3, "what was stored is kept");
}
