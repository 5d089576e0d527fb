//! Calls are counted and timed.
#![allow(clippy::unwrap_used)]

mod support;

use keypool_client::proto::v1::*;
use metrics_exporter_prometheus::PrometheusBuilder;
use support::*;
use tonic::Code;

#[tokio::test]
async fn calls_are_counted_by_method_and_outcome() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let (fake, client) = Fake::start().await;
    let client = client.connect().await.unwrap();

    fake.status.answer(Err(unavailable())).answer(Ok(some_status()));
    client.pool_status("bob", "phone").await.unwrap();
    fake.status.answer(Err(failure(Code::NotFound, ErrorReason::UnknownUser, vec![])));
    client.pool_status("bob", "phone").await.unwrap_err();
    let dropped = client.clone();
    let dropped = tokio::spawn(async move { dropped.pool_status("bob", "phone").await });
    eventually(|| fake.status.open() == 1).await;
    dropped.abort();
    dropped.await.unwrap_err();

    let text = handle.render();
    for line in [
        r#"keypool_client_calls_total{method="GetPoolStatus",outcome="ok"} 1"#,
        r#"keypool_client_calls_total{method="GetPoolStatus",outcome="unknown_user"} 1"#,
        r#"keypool_client_calls_total{method="GetPoolStatus",outcome="cancelled"} 1"#,
        r#"keypool_client_call_duration_seconds_count{method="GetPoolStatus"} 3"#,
        r#"keypool_client_retries_total{method="GetPoolStatus"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[cfg(feature = "openmls")]
#[tokio::test]
async fn rejected_packages_are_counted_by_reason() {
    use support::device::{Device, SUITE};
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    let keeper = keypool_client::PoolKeeper::builder(client, "bob", "phone", [SUITE]);
    let keeper = keeper.build(&bob.provider, bob.credential.clone(), &bob.signer);
    fake.status.answer(Err(failure(Code::NotFound, ErrorReason::UnknownUser, vec![])));
    let rejected = UploadResult {
        outcome: UploadOutcome::Rejected.into(),
        rejection_reason: RejectionReason::NotYetValid.into(),
        ..Default::default()
    };
    fake.upload.answer(Ok(UploadKeyPackagesResponse {
        results: vec![rejected; 33],
        pool_status: Some(DevicePoolStatus::default()),
        ..Default::default()
    }));

    keeper.refresh().await.unwrap();

    let text = handle.render();
    let line = r#"keypool_client_rejected_packages_total{reason="not_yet_valid"} 33"#;
    assert!(text.contains(line), "{line} is not in\n{text}");
}
