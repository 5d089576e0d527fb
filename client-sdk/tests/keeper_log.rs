//! What a keeper logs. A process of its own: a subscriber counts for one thread, but whether a line can be logged at all is
//! decided once for all.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use keypool_client::{Client, PoolKeeper};
use keypool_service::testing::server::TestServer;
use support::device::{Device, SUITE};
use support::keeper::HOUR;

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_problem_is_logged_once() {
    let (log, server) = (Log::default(), TestServer::start().await);
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .init();
    let client = Client::builder(server.endpoint()).connect().await.unwrap();
    let bob = Device::new("bob", "phone");
    #[allow(clippy::disallowed_methods)] // the keeper's clock is what is tested
    let clock = || SystemTime::now() + 3 * HOUR;
    let keeper = PoolKeeper::builder(client, "bob", "phone", [SUITE])
        .clock(clock)
        .store(bob.store.clone())
        .build(&bob.provider, bob.credential.clone(), &bob.signer);
    for _ in 0..3 {
        keeper.refresh().await.unwrap();
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for words in ["packages rejected: NOT_YET_VALID", "the device's clock is 10", "no last resort"]
    {
        assert_eq!(log.matches(words).count(), 1, "{words} in\n{log}");
    }
    server.stop().await;
}
