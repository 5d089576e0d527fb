//! Requests that aren't the message they should be.

use super::support::{client, fields, raw, reason, upload_request};
use keypool_proto::v1::{ErrorReason, ReconcilePoolRequest};
use keypool_service::testing::server::TestServer;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use tonic::Code;

const METHODS: [&str; 10] = [
    "KeyPackageService/UploadKeyPackages",
    "KeyPackageService/GetPoolStatus",
    "KeyPackageService/WatchPool",
    "KeyPackageService/ReconcilePool",
    "KeyPackageService/RevokeKeyPackages",
    "KeyPackageService/ReserveKeyPackages",
    "KeyPackageService/SpendReservation",
    "KeyPackageService/ReleaseReservation",
    "KeyPackageService/ExtendReservation",
    "AuditService/ListSpendLog",
];

/// Every text of the API: its method, the numbers that lead to it, and its path.
const TEXTS: [(&str, &[u8], &str); 34] = [
    ("KeyPackageService/UploadKeyPackages", &[1], "user_id"),
    ("KeyPackageService/UploadKeyPackages", &[2], "device_id"),
    ("KeyPackageService/GetPoolStatus", &[1], "user_id"),
    ("KeyPackageService/GetPoolStatus", &[2], "device_id"),
    ("KeyPackageService/WatchPool", &[1], "user_id"),
    ("KeyPackageService/WatchPool", &[2], "device_id"),
    ("KeyPackageService/ReconcilePool", &[1], "user_id"),
    ("KeyPackageService/ReconcilePool", &[2], "device_id"),
    ("KeyPackageService/RevokeKeyPackages", &[1], "user_id"),
    ("KeyPackageService/RevokeKeyPackages", &[2], "device_id"),
    ("KeyPackageService/ReserveKeyPackages", &[1], "reservation_id"),
    ("KeyPackageService/ReserveKeyPackages", &[3, 1], "targets.user_id"),
    ("KeyPackageService/ReserveKeyPackages", &[3, 2], "targets.device_id"),
    ("KeyPackageService/ReserveKeyPackages", &[3, 3], "targets.excluded_device_ids"),
    ("KeyPackageService/ReserveKeyPackages", &[8], "on_behalf_of"),
    ("KeyPackageService/SpendReservation", &[1], "reservation_id"),
    ("KeyPackageService/SpendReservation", &[3, 1], "packages.user_id"),
    ("KeyPackageService/SpendReservation", &[3, 2], "packages.device_id"),
    ("KeyPackageService/SpendReservation", &[4], "on_behalf_of"),
    ("KeyPackageService/ReleaseReservation", &[1], "reservation_id"),
    ("KeyPackageService/ReleaseReservation", &[2, 1, 1], "packages.name.user_id"),
    ("KeyPackageService/ReleaseReservation", &[2, 1, 2], "packages.name.device_id"),
    ("KeyPackageService/ReleaseReservation", &[3], "on_behalf_of"),
    ("KeyPackageService/ExtendReservation", &[1], "reservation_id"),
    ("KeyPackageService/ExtendReservation", &[2, 1], "packages.user_id"),
    ("KeyPackageService/ExtendReservation", &[2, 2], "packages.device_id"),
    ("KeyPackageService/ExtendReservation", &[4], "on_behalf_of"),
    ("AuditService/ListSpendLog", &[1, 1], "filter.user_id"),
    ("AuditService/ListSpendLog", &[1, 2], "filter.device_id"),
    ("AuditService/ListSpendLog", &[1, 3], "filter.reservation_id"),
    ("AuditService/ListSpendLog", &[1, 5], "filter.holder"),
    ("AuditService/ListSpendLog", &[3], "page_token"),
    // Not a text, but a message of Google's in ours.
    ("KeyPackageService/ReserveKeyPackages", &[5, 1], "ttl.seconds"),
    ("AuditService/ListSpendLog", &[1, 6, 2], "filter.start_time.nanos"),
];

#[tokio::test]
async fn text_that_is_not_utf_8_is_refused_with_its_path() {
    let server = TestServer::start().await;
    for (method, numbers, path) in TEXTS {
        let value = b"\xff\xfe".to_vec();
        let request = numbers.iter().rev().fold(value, |value, &number| raw::field(number, &value));
        let status = raw::call(&server, method, request).await.unwrap_err();
        assert_eq!(fields(&status), [path], "{method}: {status:?}");
        assert_eq!(reason(&status), ErrorReason::InvalidArgument);
    }
}

#[tokio::test]
async fn bytes_that_are_not_protobuf_are_refused() {
    const UNKNOWN_FIELD_CUT_OFF: &[u8] = b"\xfa\x01\x7f";
    const FIELD_0: &[u8] = b"\x02\x00";
    const ENDLESS_NUMBER: &[u8] = &[0xff; 11];
    const END_WITHOUT_START: &[u8] = b"\x0c";
    let server = TestServer::start().await;
    for method in METHODS {
        for garbage in [UNKNOWN_FIELD_CUT_OFF, FIELD_0, ENDLESS_NUMBER, END_WITHOUT_START] {
            let status = raw::call(&server, method, garbage.to_vec()).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{method}: {status:?}");
            assert_eq!(reason(&status), ErrorReason::InvalidArgument);
        }
    }
}

#[tokio::test]
async fn random_bytes_are_never_a_fault_of_the_service() {
    let server = TestServer::start().await;
    let mut random = StdRng::seed_from_u64(9420);
    for method in METHODS {
        for length in 1..40 {
            let mut garbage = vec![0; length];
            random.fill_bytes(&mut garbage);
            let code = raw::call(&server, method, garbage.clone()).await.err().map(|e| e.code());
            let expected = matches!(code, None | Some(Code::InvalidArgument));
            assert!(expected, "{method} {garbage:?}: {code:?}");
        }
    }
}

#[tokio::test]
async fn a_request_of_too_many_bytes_is_refused() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let request = upload_request("bob", "phone", vec![vec![0; 100 * 1024]; 100]);
    let status = client.upload_key_packages(request).await.unwrap_err();
    assert_eq!(fields(&status), [""]);
}

#[tokio::test]
async fn a_request_with_a_thousand_faults_is_refused_with_some_of_them() {
    let server = TestServer::start().await;
    let mut client = client(&server).await;
    let key_package_refs = vec![Vec::new(); 1000];
    let request = ReconcilePoolRequest { key_package_refs, ..ReconcilePoolRequest::default() };
    let status = client.reconcile_pool(request).await.unwrap_err();
    let fields = fields(&status);
    assert_eq!(fields.len(), 16);
    assert_eq!(fields[..3], ["user_id", "device_id", "key_package_refs[0]"]);
}
