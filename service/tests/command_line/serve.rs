use super::{
    fails, file, keypool,
    serving::{ANYWHERE, Serving, on},
    support::{fill, http, process::DataDir},
};
use keypool_service::testing::database::TestDatabase;
use rustix::process::Signal;
use std::net::TcpListener;

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
        let serving = Serving::start(on(&database, &ANYWHERE)).await;
        fill(&mut serving.client().await, "bob", "phone", 1).await;
        assert!(serving.greeting.contains(&format!("http://{}", serving.address)));
        assert_eq!(http::get(serving.admin, "/readyz").await.status, 200);
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
    let serving = Serving::start(keypool(&arguments)).await;
    fill(&mut serving.client().await, "bob", "phone", 3).await;
    assert!(serving.greeting.contains(path));

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
