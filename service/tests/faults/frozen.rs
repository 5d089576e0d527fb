//! A replica that is frozen and goes on when its callers have given up does nothing for them any more: they have gone on
//! elsewhere.

use crate::support::{calls::*, fill, process::Keypool, spend_request, upload_request};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioExecutor};
use keypool_proto::v1::{
    AllKeyPackages, GetPoolStatusRequest, ReconcilePoolRequest, UnusableReason,
    key_package_service_client::KeyPackageServiceClient, revoke_key_packages_request::Selector,
};
use keypool_service::testing::{database::TestDatabase, packages::PackageMaker};
use rustix::process::Signal;
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::{Code, Request, Status, body::Body};

/// How a caller gives up.
#[derive(Clone, Copy, PartialEq)]
enum GivesUp {
    /// At the deadline that its call has, without a word, as if its machine or its network were gone.
    InSilence,
    /// It leaves, which its connection tells, without having set a deadline.
    Leaving,
}

impl GivesUp {
    fn request<T>(self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if self == Self::InSilence {
            request.set_timeout(DEADLINE);
        }
        request
    }
}

const DEADLINE: Duration = Duration::from_secs(1);

type Http = hyper_util::client::legacy::Client<HttpConnector, Body>;

/// A caller that minds no deadline itself, as tonic's channel would.
fn caller(endpoint: &str) -> KeyPackageServiceClient<Http> {
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
    let origin = endpoint.parse().unwrap();
    KeyPackageServiceClient::with_origin(http.clone().http2_only(true).build_http(), origin)
}

#[tokio::test]
async fn nothing_is_done_after_a_freeze_for_callers_whose_deadline_passed() {
    nothing_is_done_for_callers_that_gave_up(GivesUp::InSilence).await;
}

#[tokio::test]
async fn nothing_is_done_after_a_freeze_for_callers_that_have_left() {
    nothing_is_done_for_callers_that_gave_up(GivesUp::Leaving).await;
}

async fn nothing_is_done_for_callers_that_gave_up(how: GivesUp) {
    let database = TestDatabase::create().await;
    let url = database.url();
    let flags = ["--database-url", url.as_str()];
    let frozen = Keypool::start(&flags).await;
    let other = Keypool::start(&flags).await;
    let (caller, mut elsewhere) = (caller(frozen.endpoint()), other.client().await);
    for device in ["revoked", "reconciled", "released", "spent", "reserved", "uploaded"] {
        fill(&mut elsewhere, "bob", device, 3).await;
    }
    let held = reserve_one(&mut elsewhere, "released", "bob", "released").await.unwrap();
    let used = reserve_one(&mut elsewhere, "spent", "bob", "spent").await.unwrap();
    let asked = GetPoolStatusRequest { user_id: "bob".into(), device_id: String::new() };
    caller.clone().get_pool_status(asked.clone()).await.unwrap(); // it is connected
    let mut witness = frozen.client().await;

    frozen.freeze().await;
    let mut calls: JoinSet<Result<(), Status>> = JoinSet::new();
    let mut client = caller.clone();
    let revoke = revoke_request("bob", "revoked", Selector::All(AllKeyPackages {}));
    calls.spawn(async move { client.revoke_key_packages(how.request(revoke)).await.map(drop) });
    let mut client = caller.clone();
    let reconcile = ReconcilePoolRequest {
        user_id: "bob".into(),
        device_id: "reconciled".into(),
        ..ReconcilePoolRequest::default()
    };
    calls.spawn(async move { client.reconcile_pool(how.request(reconcile)).await.map(drop) });
    let mut client = caller.clone();
    let release = release_request("released", named(&held), UnusableReason::Unspecified);
    calls.spawn(async move { client.release_reservation(how.request(release)).await.map(drop) });
    let mut client = caller.clone();
    let spend = spend_request("spent", named(&used));
    calls.spawn(async move { client.spend_reservation(how.request(spend)).await.map(drop) });
    let mut client = caller.clone();
    let reserve =
        crate::support::reserve_request("r", vec![crate::support::device("bob", "reserved")]);
    calls.spawn(async move { client.reserve_key_packages(how.request(reserve)).await.map(drop) });
    let mut client = caller.clone();
    let upload =
        upload_request("bob", "uploaded", vec![PackageMaker::new("bob", "uploaded").make()]);
    calls.spawn(async move { client.upload_key_packages(how.request(upload)).await.map(drop) });

    // So long that callers have given up.
    let mut asked = Request::new(asked);
    asked.set_timeout(DEADLINE);
    witness.get_pool_status(asked).await.unwrap_err();
    if how == GivesUp::Leaving {
        calls.shutdown().await;
    }
    drop(caller);

    // Meanwhile they go on elsewhere.
    for device in ["revoked", "reconciled"] {
        fill(&mut elsewhere, "bob", device, 5).await;
    }
    reserve_one(&mut elsewhere, "released", "bob", "released").await.unwrap();
    let before = devices(&mut elsewhere, "bob").await;

    frozen.signal(Signal::CONT);
    for answer in calls.join_all().await {
        assert_eq!(answer.unwrap_err().code(), Code::DeadlineExceeded);
    }
    eventually("it serves again", async || {
        devices(&mut frozen.client().await, "bob").await.len() == before.len()
    })
    .await;
    frozen.signal(Signal::TERM); // and finishes what it has begun
    assert!(frozen.ended().await.success());
    assert_eq!(devices(&mut elsewhere, "bob").await, before);
}
