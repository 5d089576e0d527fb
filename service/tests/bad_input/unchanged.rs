use super::support::{
    Client, client, device, fill, fill_last_resort, names, raw, reserve, reserve_request,
    spend_request, upload_request,
};
use keypool_proto::v1::{
    KeyPackageName, ReleaseReservationRequest, ReleasedKeyPackage, RevokeKeyPackagesRequest,
};
use keypool_service::testing::{packages::PackageMaker, server::TestServer};
use tokio_postgres::NoTls;
use tonic::Status;

/// Everything that is stored, row by row.
async fn contents(server: &TestServer) -> Vec<String> {
    let (database, connection) = server.database().config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let tables =
        ["device", "pool", "key_package", "one_time", "last_resort", "revoked", "spend_log"];
    let mut rows = Vec::new();
    for table in tables {
        let query = format!("SELECT t::text FROM {table} t ORDER BY 1");
        rows.extend(database.query(&query, &[]).await.unwrap().iter().map(|row| row.get(0)));
    }
    rows
}

/// How many rows there are.
pub async fn rows(server: &TestServer) -> usize {
    contents(server).await.len()
}

/// Requests of which one part is good, and would change something, and another is bad.
async fn send_half_bad(
    client: &mut Client,
    server: &TestServer,
    held: KeyPackageName,
) -> Vec<Status> {
    let bad = KeyPackageName { key_package_ref: vec![7; 31], ..held.clone() };
    let good_packages = PackageMaker::new("bob", "phone").make_many(101);
    let released =
        |name: &KeyPackageName| ReleasedKeyPackage { name: Some(name.clone()), unusable_reason: 1 };
    let release = ReleaseReservationRequest {
        reservation_id: "r".into(),
        packages: vec![released(&held), released(&bad)],
        on_behalf_of: String::new(),
    };
    let revoke = RevokeKeyPackagesRequest {
        user_id: "bob".into(),
        device_id: "phone".into(),
        selector: None,
    };
    let targets = vec![device("bob", "phone"), device("", "phone")];
    // A target that is good, then one that isn't UTF-8.
    let good = raw::field(3, &[raw::field(1, b"bob"), raw::field(2, b"phone")].concat());
    let undecodable = raw::field(3, &raw::field(1, b"\xff"));
    let ids = [raw::field(1, b"other"), raw::field(2, b"group")].concat();
    let raw_reserve = [ids, good, undecodable].concat();
    vec![
        client
            .upload_key_packages(upload_request("bob", "phone", good_packages))
            .await
            .unwrap_err(),
        client.reserve_key_packages(reserve_request("new", targets)).await.unwrap_err(),
        client.spend_reservation(spend_request("r", vec![held, bad])).await.unwrap_err(),
        client.release_reservation(release).await.unwrap_err(),
        client.revoke_key_packages(revoke).await.unwrap_err(),
        raw::call(server, "KeyPackageService/ReserveKeyPackages", raw_reserve).await.unwrap_err(),
    ]
}

#[tokio::test]
async fn a_request_that_is_bad_in_part_changes_nothing() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    fill(&mut client, "bob", "phone", 3).await;
    fill_last_resort(&mut client, "bob", "phone").await;
    let held = names(&reserve(&mut client, "r", vec![device("bob", "phone")]).await.unwrap());
    let before = contents(&server).await;
    for status in send_half_bad(&mut client, &server, held[0].clone()).await {
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    }
    assert_eq!(contents(&server).await, before);
}
