use super::table::Table;
use keypool_proto::v1::{
    ListSpendLogRequest, SpendLogFilter, audit_service_client::AuditServiceClient,
};
use keypool_service::testing::server::TestServer;
use prost_types::Timestamp;

type Request = ListSpendLogRequest;

/// Times that google.protobuf.Timestamp does not allow.
const NO_TIMES: [(i64, i32); 8] = [
    (0, -1),
    (0, 1_000_000_000),
    (0, i32::MIN),
    (-62_135_596_801, 999_999_999), // the last moment before the year 1
    (-300_000_000_000, 0),          // a year that PostgreSQL doesn't reach
    (253_402_300_800, 0),           // the year 10000
    (i64::MIN, 0),
    (i64::MAX, 999_999_999),
];

fn filter(request: &mut Request) -> &mut SpendLogFilter {
    request.filter.get_or_insert_default()
}

fn times(mut table: Table<Request>) -> Table<Request> {
    for (seconds, nanos) in NO_TIMES {
        let time = Some(Timestamp { seconds, nanos });
        table = table
            .with("filter.start_time", |request| filter(request).start_time = time)
            .with("filter.end_time", |request| filter(request).end_time = time);
    }
    table
}

/// What is no page token: no, half, and with a part that could not come from this service.
fn tokens(mut table: Table<Request>) -> Table<Request> {
    let reference = "ab".repeat(32);
    let tokens = [
        "x".to_owned(),
        "1".to_owned(),
        format!("1.{reference}"),
        format!("1.{reference}."),
        format!("1.{reference}.\n"),
        format!("1.{}.r", &reference[1..]),
        format!("1.{}.r", &reference[2..]),
        format!("1.{}.r", "é".repeat(16)),
        format!("one.{reference}.r"),
        format!("{}.{reference}.r", i64::MAX),
        format!("-300000000000000000.{reference}.r"),
    ];
    for token in tokens {
        table = table.with("page_token", |request| request.page_token = token);
    }
    table
}

#[tokio::test]
async fn list_spend_log_names_the_bad_field() {
    let server = TestServer::start().await;
    let audit = AuditServiceClient::connect(server.endpoint()).await.unwrap();
    let good = Request {
        filter: Some(SpendLogFilter { user_id: "bob".into(), ..SpendLogFilter::default() }),
        page_size: 1000,
        page_token: format!("1.{}.1.rh", "ab".repeat(32)),
    };
    let table = Table::of(good)
        .optional_id("filter.user_id", |request, id| filter(request).user_id = id)
        .optional_id("filter.device_id", |request, id| filter(request).device_id = id)
        .optional_id("filter.reservation_id", |request, id| filter(request).reservation_id = id)
        .optional_id("filter.holder", |request, id| filter(request).holder = id)
        .with("filter.group_id", |request| filter(request).group_id = vec![7; 256])
        .with("page_size", |request| request.page_size = 1001)
        .with("page_size", |request| request.page_size = u32::MAX);
    tokens(times(table))
        .check(&server, async |request| audit.clone().list_spend_log(request).await)
        .await;
}

#[tokio::test]
async fn a_device_without_its_user_is_refused() {
    let server = TestServer::start().await;
    let mut audit = AuditServiceClient::connect(server.endpoint()).await.unwrap();
    let filter = SpendLogFilter { device_id: "phone".into(), ..SpendLogFilter::default() };
    let request = Request { filter: Some(filter), ..Request::default() };
    let status = audit.list_spend_log(request).await.unwrap_err();
    assert_eq!(super::support::fields(&status), ["filter.device_id"]);
}
