//! The table of hostile packages, uploaded.

use super::{
    bob, outcomes, send_bobs,
    support::{
        calls::{reference, reserve_one},
        client, device, reason, reserve, upload,
    },
};
use keypool_proto::v1::{
    ErrorReason, GetPoolStatusRequest, PoolHealth, RejectionReason as Reason,
    UploadOutcome::{Accepted, Rejected},
};
use keypool_service::{
    limits::Rates,
    testing::{
        hostile::{hostile, odd},
        server::TestServer,
    },
};
use std::collections::HashMap;

/// How many packages one upload takes.
const UPLOAD: usize = 100;

#[tokio::test]
async fn each_alone_is_rejected_for_its_reason() {
    let server = TestServer::start_with(|config| {
        config.limits.rates = Rates::UNLIMITED;
        config.validation.max_bytes = 64 * 1024;
    })
    .await;
    let mut client = client(&server).await;
    for hostile in hostile("bob", "phone") {
        let response = send_bobs(&mut client, vec![hostile.bytes]).await;
        let result = &response.results[0];
        assert_eq!(outcomes(&response), [Rejected], "{}", hostile.name);
        assert_eq!(
            result.rejection_reason(),
            hostile.reason.into(),
            "{}: {result:?}",
            hostile.name
        );
        assert!(!result.message.is_empty(), "{}", hostile.name);
        let has_ref = !result.key_package_ref.is_empty();
        assert_eq!(has_ref, can_be_read(result.rejection_reason()), "{}", hostile.name);
    }
}

/// Whether a package with this fault can be read far enough to have a ref.
fn can_be_read(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::Malformed
            | Reason::TooLarge
            | Reason::UnsupportedProtocolVersion
            | Reason::UnsupportedCipherSuite
    )
}

#[tokio::test]
async fn together_they_leave_their_good_neighbours_stored_each_in_its_place() {
    let server = TestServer::start_with(|config| {
        config.pool.cap = 1000;
        config.limits.rates = Rates::UNLIMITED;
        config.validation.max_bytes = 64 * 1024;
    })
    .await;
    let mut client = client(&server).await;
    let mut stored = HashMap::new();
    for some in hostile("bob", "phone").chunks(UPLOAD - 4) {
        let mut sent: Vec<Vec<u8>> = some.iter().map(|hostile| hostile.bytes.clone()).collect();
        let good = [0, 1, some.len() / 2, some.len() + 3];
        for place in good {
            sent.insert(place, bob().make());
        }
        let response = send_bobs(&mut client, sent.clone()).await;
        for (n, (result, package)) in response.results.iter().zip(sent).enumerate() {
            let expected = if good.contains(&n) { Accepted } else { Rejected };
            assert_eq!(result.outcome(), expected, "{}", result.message);
            if expected == Accepted {
                assert_eq!(result.message, "");
                stored.insert(result.key_package_ref.clone(), package);
            }
        }
        assert_eq!(response.results.len(), some.len() + good.len());
    }
    for n in 0..stored.len() {
        let held = reserve_one(&mut client, &n.to_string(), "bob", "phone").await.unwrap();
        assert_eq!(stored[&reference(&held)], held.key_package);
    }
    let left = reserve(&mut client, "one more", vec![device("bob", "phone")]).await.unwrap_err();
    assert_eq!(reason(&left), ErrorReason::PoolExhausted);
}

#[tokio::test]
async fn odd_packages_are_stored_and_handed_out_as_they_are() {
    let server = TestServer::start_with(|config| config.validation.max_bytes = 64 * 1024).await;
    let mut client = client(&server).await;
    let packages: Vec<_> = odd("bob", "phone").into_iter().map(|(_, package)| package).collect();
    upload(&mut client, "bob", "phone", packages.clone()).await;
    for n in 0..packages.len() {
        let held = reserve_one(&mut client, &n.to_string(), "bob", "phone").await.unwrap();
        assert!(packages.contains(&held.key_package));
    }
}

#[tokio::test]
async fn an_upload_that_is_rejected_whole_makes_no_device() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let bad = hostile("bob", "phone").into_iter().map(|hostile| hostile.bytes).take(UPLOAD);
    let status = send_bobs(&mut client, bad.collect()).await.pool_status.unwrap();
    assert_eq!((status.user_id.as_str(), status.device_id.as_str()), ("bob", "phone"));
    assert_eq!(status.health(), PoolHealth::Empty);
    assert!(status.pools.is_empty() && status.last_upload_time.is_none(), "{status:?}");

    let of_phone = GetPoolStatusRequest { user_id: "bob".into(), device_id: "phone".into() };
    let unknown = client.get_pool_status(of_phone).await.unwrap_err();
    assert_eq!(reason(&unknown), ErrorReason::UnknownUser);
}
