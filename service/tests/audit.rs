//! The spend log: who was handed which package, for which group, when.

#![allow(clippy::unwrap_used)]

mod support;

use jiff::{SignedDuration, Timestamp};
use keypool_proto::v1::{
    ListSpendLogRequest, ReserveKeyPackagesRequest, SpendLogEntry, SpendLogFilter,
    SpendReservationRequest, audit_service_client::AuditServiceClient,
};
use keypool_service::testing::server::TestServer;
use std::collections::HashSet;
use support::{
    Client,
    calls::{named, release, reserve_one, spend_log, time},
    client, device, fill, fill_last_resort, names, reserve, reserve_request, spend, user,
};

const SECOND: SignedDuration = SignedDuration::from_secs(1);

type Filter = SpendLogFilter;

async fn matching(server: &TestServer, filter: Filter) -> Vec<SpendLogEntry> {
    spend_log(&server.endpoint(), filter).await
}

async fn all(server: &TestServer) -> Vec<SpendLogEntry> {
    matching(server, Filter::default()).await
}

/// The whole log, page by page.
async fn paged(server: &TestServer, filter: &Filter, page_size: u32) -> Vec<SpendLogEntry> {
    let mut audit = AuditServiceClient::connect(server.endpoint()).await.unwrap();
    let mut request =
        ListSpendLogRequest { filter: Some(filter.clone()), page_size, page_token: String::new() };
    let mut entries = Vec::new();
    loop {
        let page = audit.list_spend_log(request.clone()).await.unwrap().into_inner();
        assert!(page.entries.len() <= page_size as usize);
        entries.extend(page.entries);
        if page.next_page_token.is_empty() {
            return entries;
        }
        request.page_token = page.next_page_token;
    }
}

fn log_time(entry: &SpendLogEntry) -> Timestamp {
    time(&entry.log_time.unwrap())
}

fn key(entry: &SpendLogEntry) -> (String, Vec<u8>, String) {
    (entry.user_id.clone(), entry.key_package_ref.clone(), entry.reservation_id.clone())
}

/// Reserves and spends one package, for a group, on behalf of somebody.
async fn invite(client: &mut Client, reservation: &str, target: [&str; 2], group: &str, by: &str) {
    let request = ReserveKeyPackagesRequest {
        group_id: group.into(),
        on_behalf_of: by.into(),
        ..reserve_request(reservation, vec![device(target[0], target[1])])
    };
    let reserved = client.reserve_key_packages(request).await.unwrap().into_inner();
    let request = SpendReservationRequest {
        reservation_id: reservation.into(),
        group_id: group.into(),
        packages: names(&reserved),
        on_behalf_of: by.into(),
    };
    client.spend_reservation(request).await.unwrap();
}

/// Four invites, a second apart: of different users, devices, groups and holders.
async fn four_invites(server: &TestServer) {
    let mut client = client(server).await;
    for (user, device) in [("bob", "phone"), ("bob", "laptop"), ("carol", "phone")] {
        fill(&mut client, user, device, 2).await;
    }
    invite(&mut client, "r1", ["bob", "phone"], "g1", "alice").await;
    server.clock().advance(SECOND);
    invite(&mut client, "r2", ["bob", "laptop"], "g1", "dave").await;
    server.clock().advance(SECOND);
    invite(&mut client, "r3", ["carol", "phone"], "g2", "alice").await;
    server.clock().advance(SECOND);
    invite(&mut client, "r4", ["bob", "phone"], "g2", "").await;
}

fn reservations(entries: &[SpendLogEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.reservation_id.as_str()).collect()
}

#[tokio::test]
async fn an_entry_tells_everything_of_a_spend() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 1).await;
    let request = ReserveKeyPackagesRequest {
        on_behalf_of: "alice".into(),
        ..reserve_request("r", vec![device("bob", "phone")])
    };
    let reserved = client.reserve_key_packages(request).await.unwrap().into_inner();
    assert_eq!(all(&server).await, [], "a one-time package is logged when it is spent");
    let request = SpendReservationRequest {
        on_behalf_of: "alice".into(),
        ..support::spend_request("r", names(&reserved))
    };
    client.spend_reservation(request).await.unwrap();

    let entries = all(&server).await;
    let expected = SpendLogEntry {
        user_id: "bob".into(),
        device_id: "phone".into(),
        key_package_ref: names(&reserved)[0].key_package_ref.clone(),
        cipher_suite: 1,
        last_resort: false,
        reservation_id: "r".into(),
        group_id: support::GROUP.into(),
        holder: "alice".into(),
        principal: "service:anonymous".into(),
        log_time: entries[0].log_time,
        spend_time: entries[0].log_time,
        release_time: None,
        lapse_time: None,
        unusable_reason: 0,
    };
    assert_eq!(entries, [expected]);
    assert!(entries[0].log_time.is_some());
}

#[tokio::test]
async fn who_acts_for_nobody_is_holder_and_principal() {
    let server = TestServer::start().await;
    four_invites(&server).await;
    let entry = &all(&server).await[0];
    assert_eq!(
        (entry.holder.as_str(), entry.principal.as_str()),
        ("service:anonymous", "service:anonymous")
    );
}

#[tokio::test]
async fn entries_are_listed_newest_first() {
    let server = TestServer::start().await;
    four_invites(&server).await;
    assert_eq!(reservations(&all(&server).await), ["r4", "r3", "r2", "r1"]);
}

#[tokio::test]
async fn each_filter_selects_by_its_field() {
    let server = TestServer::start().await;
    four_invites(&server).await;
    let bob = || Filter { user_id: "bob".into(), ..Filter::default() };
    let cases = [
        (bob(), vec!["r4", "r2", "r1"]),
        (Filter { device_id: "phone".into(), ..bob() }, vec!["r4", "r1"]),
        (Filter { reservation_id: "r2".into(), ..Filter::default() }, vec!["r2"]),
        (Filter { group_id: b"g2".into(), ..Filter::default() }, vec!["r4", "r3"]),
        (Filter { holder: "alice".into(), ..Filter::default() }, vec!["r3", "r1"]),
        (Filter { user_id: "nobody".into(), ..Filter::default() }, vec![]),
        (Filter { device_id: "tablet".into(), ..bob() }, vec![]),
        (Filter { reservation_id: "r".into(), ..Filter::default() }, vec![]),
        (Filter { group_id: b"g".into(), ..Filter::default() }, vec![]),
        (Filter { holder: "mallory".into(), ..Filter::default() }, vec![]),
    ];
    for (filter, expected) in cases {
        let found = matching(&server, filter.clone()).await;
        assert_eq!(reservations(&found), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn entries_must_match_all_of_the_filter() {
    let server = TestServer::start().await;
    four_invites(&server).await;
    let r1 = all(&server).await.remove(3);
    let end = log_time(&r1) + SignedDuration::from_micros(1);
    let full = Filter {
        user_id: "bob".into(),
        device_id: "phone".into(),
        reservation_id: "r1".into(),
        group_id: b"g1".into(),
        holder: "alice".into(),
        start_time: r1.log_time,
        end_time: Some(prost_types::Timestamp {
            seconds: end.as_second(),
            nanos: end.subsec_nanosecond(),
        }),
    };
    assert_eq!(reservations(&matching(&server, full.clone()).await), ["r1"]);
    for spoilt in [
        Filter { user_id: "carol".into(), ..full.clone() },
        Filter { device_id: "laptop".into(), ..full.clone() },
        Filter { reservation_id: "r4".into(), ..full.clone() },
        Filter { group_id: b"g2".into(), ..full.clone() },
        Filter { holder: "dave".into(), ..full.clone() },
        Filter { start_time: full.end_time, ..full.clone() },
        Filter { end_time: full.start_time, ..full.clone() },
    ] {
        assert_eq!(matching(&server, spoilt.clone()).await, [], "{spoilt:?}");
    }
}

#[tokio::test]
async fn times_are_selected_from_the_start_to_before_the_end() {
    let server = TestServer::start().await;
    four_invites(&server).await;
    let entries = all(&server).await;
    let (r3, r2) = (entries[1].log_time, entries[2].log_time);
    let since_r2 = Filter { start_time: r2, ..Filter::default() };
    let before_r3 = Filter { end_time: r3, ..Filter::default() };
    let between = Filter { start_time: r2, end_time: r3, ..Filter::default() };
    let never = Filter { start_time: r3, end_time: r2, ..Filter::default() };
    assert_eq!(reservations(&matching(&server, since_r2).await), ["r4", "r3", "r2"]);
    assert_eq!(reservations(&matching(&server, before_r3).await), ["r2", "r1"]);
    assert_eq!(reservations(&matching(&server, between).await), ["r2"]);
    assert_eq!(reservations(&matching(&server, never).await), [""; 0]);
}

/// Spends of thirty users, and so of about as many buckets, ten at a time at the same moment.
async fn thirty_users(server: &TestServer) {
    let mut client = client(server).await;
    for batch in 0..3 {
        let users: Vec<_> = (0..10).map(|n| format!("user {batch} {n}")).collect();
        for user in &users {
            fill(&mut client, user, "phone", 1).await;
        }
        let targets = users.iter().map(|name| user(name)).collect();
        let reservation = format!("batch {batch}");
        let reserved = reserve(&mut client, &reservation, targets).await.unwrap();
        spend(&mut client, &reservation, names(&reserved)).await.unwrap();
        server.clock().advance(SECOND);
    }
}

#[tokio::test]
async fn pages_of_any_size_hold_each_entry_once_newest_first() {
    let server = TestServer::start().await;
    thirty_users(&server).await;
    let whole = all(&server).await;
    assert_eq!(whole.len(), 30);
    assert_eq!(whole.iter().map(key).collect::<HashSet<_>>().len(), 30);
    assert!(whole.is_sorted_by(|one, next| log_time(one) >= log_time(next)));
    for page_size in [1, 7, 10, 29, 30, 31, 1000] {
        assert_eq!(paged(&server, &Filter::default(), page_size).await, whole, "{page_size}");
    }
}

#[tokio::test]
async fn pages_keep_to_the_filter() {
    let server = TestServer::start().await;
    thirty_users(&server).await;
    let filter = Filter { reservation_id: "batch 1".into(), ..Filter::default() };
    let found = paged(&server, &filter, 3).await;
    assert_eq!(found, matching(&server, filter).await);
    assert_eq!(reservations(&found), ["batch 1"; 10]);
}

#[tokio::test]
async fn a_page_has_a_hundred_entries_unless_told_otherwise() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    for n in 0..101 {
        reserve_one(&mut client, &n.to_string(), "bob", "phone").await.unwrap();
    }
    let mut audit = AuditServiceClient::connect(server.endpoint()).await.unwrap();
    let first = audit.list_spend_log(ListSpendLogRequest::default()).await.unwrap().into_inner();
    assert_eq!(first.entries.len(), 100);
    let request =
        ListSpendLogRequest { page_token: first.next_page_token, ..ListSpendLogRequest::default() };
    let second = audit.list_spend_log(request).await.unwrap().into_inner();
    assert_eq!((second.entries.len(), second.next_page_token.as_str()), (1, ""));
    assert_eq!(second.entries[0].reservation_id, "0", "the oldest comes last");
}

#[tokio::test]
async fn entries_made_meanwhile_do_not_disturb_later_pages() {
    let server = TestServer::start().await;
    four_invites(&server).await;
    let mut audit = AuditServiceClient::connect(server.endpoint()).await.unwrap();
    let request = ListSpendLogRequest { page_size: 2, ..ListSpendLogRequest::default() };
    let first = audit.list_spend_log(request.clone()).await.unwrap().into_inner();
    server.clock().advance(SECOND);
    let mut client = client(&server).await;
    invite(&mut client, "r5", ["carol", "phone"], "g1", "dave").await;
    let request = ListSpendLogRequest { page_token: first.next_page_token, ..request };
    let second = audit.list_spend_log(request).await.unwrap().into_inner();
    assert_eq!(reservations(&first.entries), ["r4", "r3"]);
    assert_eq!(reservations(&second.entries), ["r2", "r1"]);
}

#[tokio::test]
async fn a_last_resort_is_logged_when_handed_out_and_tells_what_followed() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    for reservation in ["reserved", "spent", "given back"] {
        let held = reserve_one(&mut client, reservation, "bob", "phone").await.unwrap();
        server.clock().advance(SECOND);
        match reservation {
            "spent" => spend(&mut client, reservation, named(&held)).await.unwrap(),
            "given back" => release(&mut client, reservation, named(&held)).await.unwrap(),
            _ => {}
        }
    }
    let entries = all(&server).await;
    assert_eq!(reservations(&entries), ["given back", "spent", "reserved"]);
    assert!(entries.iter().all(|entry| entry.last_resort && entry.cipher_suite == 1));
    let followed = |entry: &SpendLogEntry| {
        let later = |at| time(&at) >= log_time(entry) + SECOND;
        (entry.spend_time.map(later), entry.release_time.map(later))
    };
    let expected = [(None, Some(true)), (Some(true), None), (None, None)];
    assert_eq!(entries.iter().map(followed).collect::<Vec<_>>(), expected);
}
