//! The examples tell the truth: each is run against a real service.
#![cfg(feature = "openmls")]
#![allow(clippy::unwrap_used)]

use keypool_service::testing::server::TestServer;
use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// Runs an example, which `cargo test` has built beside this test.
async fn run(name: &str, endpoint: String) -> Output {
    let test = std::env::current_exe().unwrap();
    let built: PathBuf = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(built.exists(), "{} is missing: run `cargo build --examples`", built.display());
    let mut example = Command::new(built);
    example.env("KEYPOOL_ENDPOINT", endpoint);
    tokio::task::spawn_blocking(move || example.output().unwrap()).await.unwrap()
}

/// Runs an example against a service of its own, and returns what it told.
async fn told_by(name: &str) -> String {
    let server = TestServer::start().await;
    let told = run(name, server.endpoint()).await;
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success(), "{text}{}", String::from_utf8_lossy(&told.stderr));
    server.stop().await;
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn invite_ends_with_a_message_read() {
    let server = TestServer::start().await;
    for _ in 0..2 {
        let told = run("invite", server.endpoint()).await;
        let text = String::from_utf8(told.stdout).unwrap();
        assert!(told.status.success(), "{text}{}", String::from_utf8_lossy(&told.stderr));
        assert!(text.contains("Bob reads: \"Hello Bob\""), "{text}");
        assert!(text.contains("31 available, 1 spent"), "{text}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_devices_names_the_one_that_is_left_out() {
    let text = told_by("several_devices").await;
    assert!(text.contains("3 devices added"), "{text}");
    assert!(text.contains("Left out: the tablet"), "{text}");
    assert!(text.contains("The tablet joins, and sees 5 members"), "{text}");
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread")]
async fn keep_pool_fills_it_up_again() {
    let text = told_by("keep_pool").await;
    assert!(text.contains("fills the pool up again"), "{text}");
    assert!(text.contains("25 private keys wait for their Welcome"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotate_credential_ends_with_the_new_key() {
    let text = told_by("rotate_credential").await;
    assert!(text.contains("33 new KeyPackages"), "{text}");
    assert!(text.contains("has another signature key. Is that right?"), "{text}");
    assert!(text.contains("finished with an old one"), "{text}");
    assert!(text.contains("with his new key: true"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backend_lets_nobody_spend_for_another() {
    let text = told_by("backend").await;
    assert!(text.contains("Bob joins: 2 members"), "{text}");
    assert!(
        text.contains("Mallory tries to spend it for herself: RESERVATION_NOT_FOUND"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn invite_says_how_to_start_the_service() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = run("invite", format!("http://{nobody}")).await;
    let text = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(1), "{text}");
    assert!(text.contains("cargo run --release"), "{text}");
}
