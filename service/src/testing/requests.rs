//! Requests as bytes, read as the service reads them: for tests that send what no client would.

pub use crate::{auth::Method, grpc::requests::read};

use keypool_proto::v1::{self, revoke_key_packages_request::Selector};
use prost::Message;

/// Good requests of a method, one for each of its kinds, with something in each field.
#[must_use]
pub fn samples(method: Method) -> Vec<Vec<u8>> {
    match method {
        Method::UploadKeyPackages => vec![
            v1::UploadKeyPackagesRequest {
                user_id: user(),
                device_id: device(),
                key_packages: vec![b"package".to_vec(); 2],
            }
            .encode_to_vec(),
        ],
        Method::GetPoolStatus => {
            vec![v1::GetPoolStatusRequest { user_id: user(), device_id: device() }.encode_to_vec()]
        }
        Method::WatchPool => {
            vec![v1::WatchPoolRequest { user_id: user(), device_id: device() }.encode_to_vec()]
        }
        Method::ReconcilePool => vec![
            v1::ReconcilePoolRequest {
                user_id: user(),
                device_id: device(),
                key_package_refs: vec![vec![1; 32], vec![2; 48], vec![3; 64]],
                as_of: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            }
            .encode_to_vec(),
        ],
        Method::RevokeKeyPackages => selectors().into_iter().map(revoke).collect(),
        Method::ReserveKeyPackages => vec![reserve()],
        Method::SpendReservation => vec![
            v1::SpendReservationRequest {
                reservation_id: "reservation".into(),
                group_id: b"group".to_vec(),
                packages: vec![name(1), name(2)],
                on_behalf_of: "carol".into(),
            }
            .encode_to_vec(),
        ],
        Method::ReleaseReservation => vec![release()],
        Method::ExtendReservation => vec![
            v1::ExtendReservationRequest {
                reservation_id: "reservation".into(),
                packages: vec![name(1), name(2)],
                ttl: Some(seconds(60)),
                on_behalf_of: "carol".into(),
            }
            .encode_to_vec(),
        ],
        Method::ListSpendLog => vec![spend_log()],
    }
}

fn user() -> String {
    "bob".into()
}

fn device() -> String {
    "phone".into()
}

fn name(n: u8) -> v1::KeyPackageName {
    v1::KeyPackageName { user_id: user(), device_id: device(), key_package_ref: vec![n; 32] }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 500_000_000 }
}

fn selectors() -> [Selector; 3] {
    [
        Selector::All(v1::AllKeyPackages {}),
        Selector::Refs(v1::KeyPackageRefs { key_package_refs: vec![vec![1; 32]; 2] }),
        Selector::Credential(v1::CredentialSelector {
            credential: b"credential".to_vec(),
            signature_key: b"key".to_vec(),
        }),
    ]
}

fn revoke(selector: Selector) -> Vec<u8> {
    v1::RevokeKeyPackagesRequest { user_id: user(), device_id: device(), selector: Some(selector) }
        .encode_to_vec()
}

fn reserve() -> Vec<u8> {
    let all_but_one = v1::Target {
        user_id: user(),
        excluded_device_ids: vec![device()],
        ..v1::Target::default()
    };
    let one = v1::Target { user_id: user(), device_id: device(), ..v1::Target::default() };
    v1::ReserveKeyPackagesRequest {
        reservation_id: "reservation".into(),
        group_id: b"group".to_vec(),
        targets: vec![all_but_one, one],
        cipher_suites: vec![1, 2],
        ttl: Some(seconds(60)),
        min_remaining_lifetime: Some(seconds(3600)),
        require_all: true,
        on_behalf_of: "carol".into(),
    }
    .encode_to_vec()
}

fn release() -> Vec<u8> {
    let released = |n, reason: v1::UnusableReason| v1::ReleasedKeyPackage {
        name: Some(name(n)),
        unusable_reason: reason.into(),
    };
    v1::ReleaseReservationRequest {
        reservation_id: "reservation".into(),
        packages: vec![
            released(1, v1::UnusableReason::Unspecified),
            released(2, v1::UnusableReason::InvalidSignature),
        ],
        on_behalf_of: "carol".into(),
    }
    .encode_to_vec()
}

fn spend_log() -> Vec<u8> {
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 1 });
    let filter = v1::SpendLogFilter {
        user_id: user(),
        device_id: device(),
        reservation_id: "reservation".into(),
        group_id: b"group".to_vec(),
        holder: "carol".into(),
        start_time: time(1_700_000_000),
        end_time: time(1_800_000_000),
    };
    let page_token = format!("1700000000000000.{}.11.reservationholder", "ab".repeat(32));
    v1::ListSpendLogRequest { filter: Some(filter), page_size: 10, page_token }.encode_to_vec()
}
