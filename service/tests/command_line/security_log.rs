//! A noisy caller does not hide what others do from the log.

use super::{
    file,
    serving::{ANYWHERE, Serving, on},
    support::http,
};
use keypool_proto::v1::GetPoolStatusRequest;
use keypool_service::testing::{database::TestDatabase, issuer::TestIssuer};
use rustix::process::Signal;
use tonic::{Code, Request};

const NOISE: usize = 500;

/// Asks for a pool so often, and is refused each time.
async fn refused(serving: &Serving, token: &str, times: usize, code: Code) {
    let mut client = serving.client().await;
    for _ in 0..times {
        let status = GetPoolStatusRequest { user_id: "bob".into(), device_id: "phone".into() };
        let mut request = Request::new(status);
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        assert_eq!(client.get_pool_status(request).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn each_caller_has_a_share_of_the_log_and_the_rest_is_counted() {
    let database = TestDatabase::create().await;
    let issuer = TestIssuer::new();
    let unlimited = "[limits.rates]\nrefused = { burst = 1, every = \"0s\" }\n";
    let (_folder, path) = file(&format!("{}\n{unlimited}", issuer.toml()));
    let arguments = [&ANYWHERE[..], &["--config", path.to_str().unwrap()]].concat();
    let mut command = on(&database, &arguments);
    command.env("KEYPOOL_LOG_FORMAT", "json");
    let serving = Serving::start(command).await;

    let inviter = |user| issuer.user(user, None, &["inviter"]);
    refused(&serving, &inviter("noisy"), NOISE, Code::PermissionDenied).await;
    refused(&serving, "forged", NOISE, Code::Unauthenticated).await;
    refused(&serving, &inviter("alice"), 1, Code::PermissionDenied).await;
    let metrics = http::get(serving.admin, "/metrics").await;
    for event in ["permission_denied", "authentication_refused"] {
        let metric = format!("keypool_security_events_not_logged_total{{event=\"{event}\"}}");
        assert!(metrics.text().contains(&metric), "{}", metrics.text());
    }

    let (_, log) = serving.stop(Signal::TERM).await;
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter(|line| line.contains("keypool::security"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let text = |line: &serde_json::Value, field: &str| {
        line["fields"][field].as_str().unwrap_or_default().to_owned()
    };
    let of =
        |field: &str, value: &str| lines.iter().filter(|line| text(line, field) == value).count();
    assert_eq!(of("principal", "alice"), 1, "{log}");
    for (event, logged) in [
        ("permission_denied", of("principal", "noisy")),
        ("authentication_refused", of("address", "127.0.0.1")),
    ] {
        assert!((1..NOISE / 2).contains(&logged), "{event}: {logged} lines");
        let left_out: u64 = lines
            .iter()
            .filter(|line| text(line, "event") == event)
            .filter_map(|line| line["fields"]["left_out"].as_u64())
            .sum();
        assert_eq!(usize::try_from(left_out).unwrap() + logged, NOISE, "{event}: {log}");
    }
}
