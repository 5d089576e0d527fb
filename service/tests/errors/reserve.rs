//! Reasons why nothing is reserved.

use crate::{
    Documented,
    support::{
        calls::*, client, device, fields, fill, reserve, reserve_details, reserve_request, user,
    },
};
use keypool_proto::v1::{self, ErrorReason, ReserveKeyPackagesRequest};
use keypool_service::testing::server::TestServer;
use tonic::Code;
use tonic_types::StatusExt;

#[tokio::test]
async fn invalid_argument_names_each_field() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let request = ReserveKeyPackagesRequest {
        targets: vec![user("bob"), user("")],
        cipher_suites: vec![1, 70_000],
        ..reserve_request("r1", Vec::new())
    };
    let error = client.reserve_key_packages(request).await.unwrap_err();
    Documented {
        code: Code::InvalidArgument,
        reason: ErrorReason::InvalidArgument,
        message: "Invalid request: ",
        metadata: &[],
    }
    .assert(&error);
    assert_eq!(fields(&error), ["targets[1].user_id", "cipher_suites[1]"]);
}

#[tokio::test]
async fn pool_exhausted() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    let error = reserve_one(&mut client, "r2", "bob", "phone").await.unwrap_err();
    Documented {
        code: Code::FailedPrecondition,
        reason: ErrorReason::PoolExhausted,
        message: "No valid KeyPackage available for target user",
        metadata: &[("user_id", "bob"), ("device_id", "phone")],
    }
    .assert(&error);
}

#[tokio::test]
async fn no_compatible_package() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let mut request = reserve_request("r1", vec![user("bob")]);
    request.cipher_suites = vec![2];
    let error = client.reserve_key_packages(request).await.unwrap_err();
    Documented {
        code: Code::FailedPrecondition,
        reason: ErrorReason::NoCompatiblePackage,
        message: "No compatible KeyPackage",
        metadata: &[("user_id", "bob"), ("device_id", "phone")],
    }
    .assert(&error);
}

#[tokio::test]
async fn unknown_user() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let documented = Documented {
        code: Code::NotFound,
        reason: ErrorReason::UnknownUser,
        message: "Unknown user",
        metadata: &[("user_id", "nobody")],
    };
    documented.assert(&reserve(&mut client, "r1", vec![user("nobody")]).await.unwrap_err());
    let request = v1::GetPoolStatusRequest { user_id: "nobody".into(), ..<_>::default() };
    documented.assert(&client.get_pool_status(request).await.unwrap_err());
}

#[tokio::test]
async fn unknown_device() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let documented = Documented {
        code: Code::NotFound,
        reason: ErrorReason::UnknownDevice,
        message: "Unknown device",
        metadata: &[("user_id", "bob"), ("device_id", "watch")],
    };
    documented.assert(&reserve_one(&mut client, "r1", "bob", "watch").await.unwrap_err());
    let request = v1::GetPoolStatusRequest { user_id: "bob".into(), device_id: "watch".into() };
    documented.assert(&client.get_pool_status(request).await.unwrap_err());
}

#[tokio::test]
async fn rate_limited_for_too_many_live_holds_of_one_user_on_one_device() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 20).await;
    let for_alice = |n: usize| ReserveKeyPackagesRequest {
        on_behalf_of: "alice".into(),
        ..reserve_request(&format!("r{n}"), vec![device("bob", "phone")])
    };
    for n in 0..8 {
        client.reserve_key_packages(for_alice(n)).await.unwrap();
    }
    let error = client.reserve_key_packages(for_alice(8)).await.unwrap_err();
    Documented {
        code: Code::ResourceExhausted,
        reason: ErrorReason::RateLimited,
        message: "A limit was hit",
        metadata: &[("user_id", "bob"), ("device_id", "phone"), ("limit", "holds")],
    }
    .assert(&error);

    let others = ReserveKeyPackagesRequest { on_behalf_of: "carol".into(), ..for_alice(9) };
    client.reserve_key_packages(others).await.unwrap();
    // A repetition asks for nothing more, so it passes.
    client.reserve_key_packages(for_alice(0)).await.unwrap();
}

#[tokio::test]
async fn the_details_list_every_target_and_the_weightiest_reason_speaks_for_all() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    reserve_one(&mut client, "r1", "bob", "phone").await.unwrap();
    let targets = vec![user("nobody"), device("bob", "watch"), device("bob", "phone")];
    let error = reserve(&mut client, "r2", targets).await.unwrap_err();
    Documented {
        code: Code::FailedPrecondition,
        reason: ErrorReason::PoolExhausted,
        message: "No valid KeyPackage available for target user",
        metadata: &[("user_id", "bob"), ("device_id", "phone")],
    }
    .assert(&error);
    let missing = reserve_details(&error).missing;
    let listed: Vec<_> = missing
        .iter()
        .map(|one| (one.user_id.as_str(), one.device_id.as_str(), one.reason()))
        .collect();
    let expected = [
        ("bob", "phone", ErrorReason::PoolExhausted),
        ("bob", "watch", ErrorReason::UnknownDevice),
        ("nobody", "", ErrorReason::UnknownUser),
    ];
    assert_eq!(listed, expected);
    assert!(missing.iter().all(|one| !one.message.is_empty()));
    let details = error.get_error_details();
    assert_eq!(details.precondition_failure().unwrap().violations.len(), 3);
}
