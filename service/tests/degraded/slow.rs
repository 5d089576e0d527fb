//! A database that takes its time.

use crate::{
    rig::{Locked, Rig, call_each, serves_again},
    support::{
        calls::{eventually, reserve_one},
        device, http,
        locks::{self, connect},
        reason, reserve_request, spend_request,
    },
};
use keypool_proto::v1::{ErrorReason, GetPoolStatusRequest, ReserveKeyPackagesRequest};
use std::time::Duration;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

fn status_request() -> GetPoolStatusRequest {
    GetPoolStatusRequest { user_id: "bob".into(), device_id: "phone".into() }
}

/// A request with a deadline.
fn within<T>(deadline: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

fn is_late(status: &Status) -> bool {
    // Whichever of client and service says it first.
    matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled)
}

#[tokio::test]
async fn deadlines_hold_and_readiness_stays() {
    let mut rig = Rig::start(|config| config.database_connections = 2).await;
    let locked = Locked::start(&rig.server).await;
    let deadline = Duration::from_millis(300);
    for number in 0..5 {
        let targets = vec![device("bob", "phone")];
        let reserve = within(deadline, reserve_request(&format!("r-{number}"), targets));
        assert!(is_late(&rig.client.reserve_key_packages(reserve).await.unwrap_err()));
        let status = within(deadline, status_request());
        assert!(is_late(&rig.client.get_pool_status(status).await.unwrap_err()));
    }
    // It is slow, not away: another replica would do no better.
    assert_eq!(http::get(rig.server.server().admin_address(), "/readyz").await.status, 200);
    locked.end().await;
    serves_again(&rig).await;
}

#[tokio::test]
async fn nothing_waits_behind_what_was_abandoned() {
    let mut rig = Rig::start(|config| config.database_connections = 1).await;
    // It began with a sweep, which needs the connection: now that is over.
    rig.server.server().pool().sweep().await.unwrap();
    let locked = Locked::start(&rig.server).await;
    let hasty = within(Duration::from_millis(100), status_request());
    assert!(is_late(&rig.client.get_pool_status(hasty).await.unwrap_err()));
    let refused = rig.client.get_pool_status(status_request()).await.unwrap_err();
    // It had no connection, or had one and waited for the lock itself.
    let reasons = [ErrorReason::Overloaded, ErrorReason::Contended];
    assert!(reasons.contains(&reason(&refused)), "{refused:?}");
    assert!(refused.get_error_details().retry_info().is_some());
    locked.end().await;
    serves_again(&rig).await;
}

#[tokio::test]
async fn a_statement_that_waited_too_long_for_a_lock_can_be_tried_again() {
    let rig = Rig::start(|_| {}).await;
    let locked = Locked::start(&rig.server).await;
    // As many as a batch holds: all are told.
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..20 {
        let mut client = rig.client.clone();
        let id = format!("r-{number}");
        calls.spawn(async move { reserve_one(&mut client, &id, "bob", "phone").await });
    }
    locks::somebody_waits(rig.server.database()).await;
    let first = calls.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!((first.code(), reason(&first)), (Code::Unavailable, ErrorReason::Contended));
    assert!(first.get_error_details().retry_info().is_some());
    locked.end().await;
    drop(calls);
    serves_again(&rig).await;
}

#[tokio::test]
async fn a_lane_full_of_calls_that_nobody_waits_for_has_room_again_at_once() {
    let mut rig = Rig::start(|config| {
        config.lanes.reserve = 1;
        config.lanes.queue_packages = 100;
    })
    .await;
    let locked = Locked::start(&rig.server).await;
    let mut calls = Vec::new();
    for number in 0..100 {
        let mut client = rig.client.clone();
        let request = reserve_request(&format!("left-{number}"), vec![device("bob", "phone")]);
        let request = within(Duration::from_millis(100), request);
        calls.push(tokio::spawn(async move { client.reserve_key_packages(request).await }));
    }
    for call in calls {
        call.await.unwrap().unwrap_err();
    }
    locked.end().await;
    eventually("the lane has room", async || {
        reserve_one(&mut rig.client, "new", "bob", "phone").await.is_ok()
    })
    .await;
    let [reserve, ..] = call_each(&rig.client, "more").await;
    reserve.unwrap();
}

#[tokio::test]
async fn a_full_lane_refuses_without_reading() {
    let rig = Rig::start(|config| {
        config.lanes.reserve = 1;
        config.lanes.queue_packages = 100;
    })
    .await;
    // What is read is refused for what it says.
    let unreadable = async || {
        let mut client = rig.client.clone();
        client.reserve_key_packages(reserve_request("", vec![])).await.unwrap_err()
    };
    assert_eq!(reason(&unreadable().await), ErrorReason::InvalidArgument);
    let locked = Locked::start(&rig.server).await;
    let mut fill = tokio::task::JoinSet::new();
    for number in 0..100 {
        let mut client = rig.client.clone();
        let id = format!("r-{number}");
        fill.spawn(async move {
            loop {
                reserve_one(&mut client, &id, "bob", "phone").await.ok();
            }
        });
    }
    eventually("it is refused unread", async || {
        let refused = unreadable().await;
        let has_advice = refused.get_error_details().retry_info().is_some();
        refused.code() == Code::Unavailable
            && reason(&refused) == ErrorReason::Overloaded
            && has_advice
    })
    .await;
    // One that is still being sent ends as it should, and takes nothing else on its connection with it.
    let large = async || {
        let mut client = rig.client.clone();
        let request =
            ReserveKeyPackagesRequest { group_id: vec![0; 4 << 20], ..reserve_request("", vec![]) };
        reason(&client.reserve_key_packages(request).await.unwrap_err())
    };
    let mut refused = 0;
    eventually("large ones are refused unread", async || {
        let reason = large().await;
        assert!(
            matches!(reason, ErrorReason::Overloaded | ErrorReason::InvalidArgument),
            "{reason:?}"
        );
        refused += u32::from(reason == ErrorReason::Overloaded);
        refused == 20
    })
    .await;
    let spend = rig.client.clone().spend_reservation(spend_request("", vec![])).await;
    assert_eq!(reason(&spend.unwrap_err()), ErrorReason::InvalidArgument, "other lanes have room");
    drop(fill);
    locked.end().await;
    eventually("it is read again", async || {
        reason(&unreadable().await) == ErrorReason::InvalidArgument
    })
    .await;
}

#[tokio::test]
async fn a_call_that_would_wait_too_long_is_refused_though_there_is_room() {
    let mut rig = Rig::start(|config| {
        config.lanes.reserve = 1;
        config.lanes.batch_packages = 1;
    })
    .await;
    let database = connect(&rig.server.database().config()).await;
    database
        .batch_execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.1); RETURN new; END $$;
             CREATE TRIGGER slow BEFORE UPDATE ON one_time FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await
        .unwrap();
    for number in 0..3 {
        reserve_one(&mut rig.client, &format!("r-{number}"), "bob", "phone").await.unwrap();
    }
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..50 {
        let mut client = rig.client.clone();
        let id = format!("more-{number}");
        calls.spawn(async move { reserve_one(&mut client, &id, "bob", "phone").await });
    }
    let answers = calls.join_all().await;
    let refused: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .filter(|status| reason(status) == ErrorReason::Overloaded)
        .collect();
    assert!(!refused.is_empty(), "the queue has room for thousands");
    assert!(refused.iter().all(|status| status.get_error_details().retry_info().is_some()));
    assert!(answers.iter().any(Result::is_ok), "a few may wait");

    database.batch_execute("DROP TRIGGER slow ON one_time").await.unwrap();
    serves_again(&rig).await;
}
