//! What a device is told about its pool, and how packages leave it other than by an invite.

#![allow(unreachable_pub, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod recommendation;
mod reconcile;
mod revoke;
mod status;
mod sweep;
mod watch;

use jiff::SignedDuration;
use keypool_proto::v1::{
    ErrorReason, ReleaseReservationRequest, ReleasedKeyPackage, UnusableReason,
};
use support::{
    Client,
    calls::{named, reserve_one},
    spend,
};
use tonic::Status;
use tonic_types::StatusExt;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Reserves a package of bob's phone and spends it. Returns its ref.
async fn use_one(client: &mut Client, reservation: &str) -> Vec<u8> {
    let held = reserve_one(client, reservation, "bob", "phone").await.unwrap();
    spend(client, reservation, named(&held)).await.unwrap();
    held.name.unwrap().key_package_ref
}

/// Reserves a package of bob's phone and gives it back as unusable. Returns its ref.
async fn find_unusable(client: &mut Client, reservation: &str, reason: UnusableReason) -> Vec<u8> {
    let held = reserve_one(client, reservation, "bob", "phone").await.unwrap();
    let released = ReleasedKeyPackage { name: held.name.clone(), unusable_reason: reason.into() };
    let request = ReleaseReservationRequest {
        reservation_id: reservation.into(),
        packages: vec![released],
        on_behalf_of: String::new(),
    };
    client.release_reservation(request).await.unwrap();
    held.name.unwrap().key_package_ref
}

/// Checks that an error says that the user, or the device, is unknown, and which.
fn assert_unknown(status: &Status, reason: ErrorReason, user: &str, device: Option<&str>) {
    assert_eq!(support::reason(status), reason);
    assert_eq!(status.code(), tonic::Code::NotFound);
    let details = status.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(metadata.get("user_id").map(String::as_str), Some(user));
    assert_eq!(metadata.get("device_id").map(String::as_str), device);
}
