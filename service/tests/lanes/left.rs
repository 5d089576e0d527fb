use super::{
    Reserving, begin, busy, number, one_lane, queue, request,
    support::{calls::eventually, client, fill, locks::connect, reserve_request},
};
use keypool_service::{
    clock::{Clock, SystemClock},
    store::{Connector, DeviceKey, HeldItem, ReleaseItem, Store},
    testing::server::TestServer,
    types::Holder,
};
use std::{sync::Arc, time::Duration};

const HELD: &str =
    "SELECT count(*) FROM one_time WHERE reservation_id IS NOT NULL AND user_id = 'bob'";

async fn leave(call: Reserving) {
    call.abort();
    call.await.unwrap_err();
}

/// Notes each reservation that is ever written on a package, whatever becomes of it afterwards.
async fn note_reservations(server: &TestServer) {
    let database = connect(&server.database().config()).await;
    database
        .batch_execute(
            "CREATE TABLE noted (reservation_id text);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO noted VALUES (new.reservation_id); RETURN new; END $$;
             CREATE TRIGGER note BEFORE UPDATE ON one_time FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await
        .unwrap();
}

/// A server that notes reservations, with a package to keep its lane busy with and two of bob.
async fn noting_server() -> TestServer {
    let server = TestServer::start_with(one_lane).await;
    let mut client = client(&server).await;
    fill(&mut client, "alice", "phone", 1).await;
    fill(&mut client, "bob", "phone", 2).await;
    note_reservations(&server).await;
    server
}

#[tokio::test]
async fn a_caller_that_left_before_its_batch_costs_no_package() {
    let server = noting_server().await;
    let (blocked, first, _) = busy(&server).await;
    let left = queue(&server, request("left", &["bob"])).await;
    let stays = queue(&server, request("stays", &["bob"])).await;
    leave(left).await;
    blocked.end().await;
    first.await.unwrap().unwrap();
    stays.await.unwrap().unwrap();
    let noted = |id| format!("SELECT count(*) FROM noted WHERE reservation_id = '{id}'");
    assert_eq!(number(&server, &noted("left")).await, 0);
    assert_eq!(number(&server, &noted("stays")).await, 1);
}

#[tokio::test]
async fn a_call_whose_deadline_passed_costs_no_package() {
    let server = noting_server().await;
    let (blocked, first, _) = busy(&server).await;
    let target = super::support::device("bob", "phone");
    let mut hasty = tonic::Request::new(reserve_request("hasty", vec![target]));
    hasty.set_timeout(Duration::from_millis(100));
    client(&server).await.reserve_key_packages(hasty).await.unwrap_err();
    let stays = queue(&server, request("stays", &["bob"])).await;
    blocked.end().await;
    first.await.unwrap().unwrap();
    stays.await.unwrap().unwrap();
    let noted = "SELECT count(*) FROM noted WHERE reservation_id = 'hasty'";
    assert_eq!(number(&server, noted).await, 0);
}

#[tokio::test]
async fn what_was_reserved_for_a_caller_that_left_is_given_back() {
    let server = TestServer::start_with(one_lane).await;
    fill(&mut client(&server).await, "bob", "phone", 1).await;
    let blocked = super::Hurdle::start(&server).await;
    let left = begin(&server, request("left", &["bob"]));
    blocked.somebody_waits(&server).await;
    leave(left).await;
    blocked.end().await;
    // The only package, which somebody else can have at once.
    eventually("the package is there again", async || {
        queue(&server, request("next", &["bob"])).await.await.unwrap().is_ok()
    })
    .await;
}

#[tokio::test]
async fn what_a_repeat_has_asked_for_is_not_given_back() {
    let server = TestServer::start_with(one_lane).await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 2).await;
    let blocked = super::Hurdle::start(&server).await;
    let left = begin(&server, request("r", &["bob"]));
    blocked.somebody_waits(&server).await;
    // Two repeats wait for the next batches: the first finds the package, before or after it was given back.
    let repeat = queue(&server, request("r", &["bob"])).await;
    let again = queue(&server, request("r", &["bob"])).await;
    leave(left).await;
    blocked.end().await;
    let repeat = repeat.await.unwrap().unwrap().reservation.packages.remove(0).package;
    let again = again.await.unwrap().unwrap().reservation.packages.remove(0).package;
    assert_eq!(repeat.reference, again.reference);
    // Whatever was to be given back is by now: the hold lane serves one after the other.
    let name = vec![keypool_proto::v1::KeyPackageName {
        user_id: "bob".into(),
        device_id: "phone".into(),
        key_package_ref: again.reference.as_bytes().to_vec(),
    }];
    super::support::calls::release(&mut client, "somebody-else", name).await.unwrap();
    let held = "SELECT count(*) FROM one_time WHERE reservation_id = 'r'";
    assert_eq!(number(&server, held).await, 1, "the repeat's hold stays");
}

#[tokio::test]
async fn what_a_late_try_has_found_is_not_given_back() {
    let server = TestServer::start_with(one_lane).await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let pool = server.server().pool();
    let answered = pool.reserve(request("r", &["bob"])).await.unwrap().reservation;
    // Another try of the same call, which is executed when nobody waits for it any more.
    let blocked = super::Hurdle::start(&server).await;
    let late = begin(&server, request("r", &["bob"]));
    blocked.somebody_waits(&server).await;
    leave(late).await;
    blocked.end().await;
    eventually("the late try was executed", async || {
        number(
            &server,
            "SELECT count(*) FROM one_time WHERE asked_at > held_until - interval '60 s'",
        )
        .await
            == 1
    })
    .await;
    // Whatever was to be given back is by now: the hold lane serves one after the other.
    let name = vec![keypool_proto::v1::KeyPackageName {
        user_id: "bob".into(),
        device_id: "phone".into(),
        key_package_ref: answered.packages[0].package.reference.as_bytes().to_vec(),
    }];
    super::support::calls::release(&mut client, "somebody-else", name).await.unwrap();
    assert_eq!(number(&server, HELD).await, 1, "the answered call's hold stays");
}

#[tokio::test]
async fn giving_back_spares_what_was_asked_for_again() {
    let server = TestServer::start_with(one_lane).await;
    fill(&mut client(&server).await, "bob", "phone", 1).await;
    let pool = server.server().pool();
    let one = pool.reserve(request("r", &["bob"])).await.unwrap().reservation;
    let two = pool.reserve(request("r", &["bob"])).await.unwrap().reservation;
    assert_eq!(one.expires_at(), two.expires_at(), "the same answer");

    let store = Store::new(
        Connector::plain(server.database().config()),
        Arc::new(SystemClock),
        1,
        Duration::from_secs(5),
    )
    .unwrap();
    let mut session = store.session().await.unwrap();
    for (answer, given_back) in [(one, 0), (two, 1)] {
        let package = answer.packages[0].clone();
        let item = ReleaseItem {
            held: HeldItem {
                device: DeviceKey::new(package.user, package.device),
                reference: package.package.reference,
                reservation: answer.id,
                holder: Some(Holder::new("inviter").unwrap()),
            },
            principal: None,
            report: None,
            asked_at: package.package.asked_at,
        };
        let released = session.release(&[item], SystemClock.now()).await.unwrap();
        assert_eq!(released.len(), given_back);
    }
    assert_eq!(number(&server, HELD).await, 0);
}
