//! Each call is a span, that shows no package and no token.
#![allow(clippy::unwrap_used)]

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use keypool_client::Token;
use support::*;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_call_is_a_span() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _subscriber = tracing::subscriber::set_default(subscriber);
    let (fake, client) = Fake::start().await;
    let client = client.token_provider(Token::new("secret").unwrap()).connect().await.unwrap();
    let bytes = b"KeyPackage bytes".to_vec();
    let packages = vec![package(name("bob", "phone", b"ref"), bytes.clone())];
    fake.reserve.answer(Err(unavailable())).answer(Ok(reserved(packages)));

    let reservation = client.reserve(b"group").user("bob").send().await.unwrap();

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let id = format!("reservation_id=\"{}\"", reservation.keep());
    let closed = |line: &&str| line.contains("keypool_call{") && line.contains("close time.busy");
    let span = log.lines().find(closed).unwrap();
    let fields = ["method=\"ReserveKeyPackages\"", &id, "attempts=2", "outcome=\"ok\""];
    assert!(fields.iter().all(|field| span.contains(field)), "{span}");
    for secret in ["secret".to_owned(), "KeyPackage bytes".to_owned(), format!("{bytes:?}")] {
        assert!(!log.contains(&secret), "{log}");
    }
}
