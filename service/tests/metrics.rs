//! What `/metrics` tells after calls that are known.

#![allow(unreachable_pub, clippy::unwrap_used)]

mod support;

use keypool_proto::v1::{ErrorReason, WatchPoolRequest};
use keypool_service::{
    telemetry::{Description, catalogue},
    testing::{packages::PackageMaker, server::TestServer},
};
use std::collections::{BTreeMap, BTreeSet};
use support::{
    calls::{eventually, named, packages, release, revoke_all},
    *,
};

/// What is told where there are TLS, tokens or failures.
const ELSEWHERE: [&str; 9] = [
    "keypool_security_events_not_logged_total", // command_line/security_log.rs
    "keypool_authentications_total",
    "keypool_jwks_refreshes_total",
    "keypool_lane_refused_total",
    "keypool_lane_retries_total",
    "keypool_statement_failures_total",
    "keypool_tls_certificate_expiry_timestamp_seconds",
    "keypool_tls_files_unread",
    "keypool_tls_reloads_total",
];

/// Samples by their name and labels, as `/metrics` writes them.
async fn samples(server: &TestServer) -> BTreeMap<String, f64> {
    let answer = http::get(server.server().admin_address(), "/metrics").await;
    let lines = answer.text().lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

/// The metric that a sample is of, and the names of its labels.
fn metric(sample: &str) -> (&str, Vec<&str>) {
    let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
    let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
    let labels = labels.map(|label| label.split('=').next().unwrap()).filter(|name| *name != "le");
    let described = |name: &str| catalogue::ALL.iter().any(|metric| metric.name == name);
    let suffixes = ["_bucket", "_sum", "_count"];
    let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
    (family.filter(|family| described(family)).unwrap_or(name), labels.collect())
}

// One test: the metrics are the process's.
#[tokio::test]
async fn metrics_tell_what_happened() {
    let server = TestServer::start_with(|config| {
        config.limits.rates.upload.burst = 5;
    })
    .await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 3).await;
    fill_last_resort(&mut client, "carol", "phone").await;
    let bad = upload_request("bob", "phone", vec![vec![0; 40]]);
    client.upload_key_packages(bad).await.unwrap();
    let much = upload_request("bob", "phone", PackageMaker::new("bob", "phone").make_many(6));
    let refused = client.upload_key_packages(much).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::RateLimited);

    let targets = vec![device("bob", "phone"), device("carol", "phone"), device("bob", "none")];
    let reserved = reserve(&mut client, "r-1", targets.clone()).await.unwrap();
    reserve(&mut client, "r-1", targets).await.unwrap();
    spend(&mut client, "r-1", named(&packages(&reserved)[0])).await.unwrap();
    let again = spend(&mut client, "r-2", named(&packages(&reserved)[0])).await.unwrap_err();
    assert_eq!(reason(&again), ErrorReason::KeyPackageAlreadySpent);
    let other = reserve(&mut client, "r-3", vec![device("bob", "phone")]).await.unwrap();
    release(&mut client, "r-3", named(&packages(&other)[0])).await.unwrap();
    assert_eq!(revoke_all(&mut client, "bob", "phone").await, 2);
    reserve(&mut client, "r-4", vec![device("bob", "phone")]).await.unwrap_err();
    let watch = WatchPoolRequest { user_id: "carol".into(), device_id: "phone".into() };
    let mut watch = client.watch_pool(watch).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();

    // It counts all pools when it starts.
    let replica = server.replica().await;
    eventually("pools are counted", async || {
        samples(&replica).await.get(r#"keypool_pools{cipher_suite="1",health="empty"}"#)
            == Some(&2.0)
    })
    .await;

    let samples = samples(&server).await;
    for (sample, expected) in [
        (r#"keypool_handed_out_packages_total{kind="one_time"}"#, 2.0),
        (r#"keypool_handed_out_packages_total{kind="last_resort"}"#, 1.0),
        (r#"keypool_missing_targets_total{reason="UNKNOWN_DEVICE"}"#, 2.0),
        (r#"keypool_missing_targets_total{reason="POOL_EXHAUSTED"}"#, 1.0),
        (r#"keypool_holds_total{operation="spend",outcome="ok"}"#, 1.0),
        (r#"keypool_holds_total{operation="spend",outcome="KEY_PACKAGE_ALREADY_SPENT"}"#, 1.0),
        (r#"keypool_holds_total{operation="release",outcome="ok"}"#, 1.0),
        (r#"keypool_uploaded_packages_total{result="accepted"}"#, 4.0),
        (r#"keypool_uploaded_packages_total{result="UNSUPPORTED_PROTOCOL_VERSION"}"#, 1.0),
        (r#"keypool_revoked_packages_total{by="revoke"}"#, 2.0),
        (r#"keypool_limited_total{limit="upload"}"#, 1.0),
        (r#"keypool_lane_waiting_packages{lane="reserve"}"#, 0.0),
        (r#"keypool_pools{cipher_suite="1",health="healthy"}"#, 0.0),
        (r#"keypool_pools_without_last_resort{cipher_suite="1"}"#, 1.0),
        ("keypool_watch_streams", 1.0),
        ("keypool_watch_statuses_total", 1.0),
        ("keypool_ready", 1.0),
        ("keypool_database_available", 1.0),
    ] {
        assert_eq!(samples.get(sample), Some(&expected), "{sample} in\n{samples:#?}");
    }
    for (sample, at_least) in [
        (r#"keypool_statement_duration_seconds_count{statement="take"}"#, 2.0),
        (r#"keypool_lane_batch_packages_count{lane="hold"}"#, 3.0),
        (r#"keypool_lane_wait_seconds_count{lane="reserve"}"#, 4.0),
        // The bucket that the objective of 100 ms is read from.
        (r#"keypool_grpc_call_duration_seconds_bucket{method="ReserveKeyPackages",le="0.1"}"#, 0.0),
    ] {
        assert!(samples[sample] >= at_least, "{sample} in\n{samples:#?}");
    }

    // Nothing is told that the catalogue doesn't list, and everything that it lists.
    let mut told = BTreeSet::new();
    for sample in samples.keys() {
        let (name, labels) = metric(sample);
        let Some(Description { labels: listed, .. }) =
            catalogue::ALL.iter().find(|metric| metric.name == name)
        else {
            panic!("{name} is not in the catalogue");
        };
        assert_eq!(&labels, listed, "{sample}");
        told.insert(name);
    }
    let listed = catalogue::ALL.iter().map(|metric| metric.name);
    for name in listed.filter(|name| !told.contains(name)) {
        assert!(ELSEWHERE.contains(&name), "{name} is never told");
    }
}
