//! More short ways to say what the tests ask the service for.

use super::{Client, device, pool, reserve};
use jiff::{SignedDuration, Timestamp};
use keypool_proto::v1::{
    self, AllKeyPackages, DevicePoolStatus, ExtendReservationRequest, KeyPackageName,
    ListSpendLogRequest, ReconcilePoolRequest, ReconcilePoolResponse, ReleaseReservationRequest,
    ReleasedKeyPackage, ReserveKeyPackagesResponse, ReservedKeyPackage, RevokeKeyPackagesRequest,
    SpendLogEntry, SpendLogFilter, UnusableReason, UploadKeyPackagesResponse,
    audit_service_client::AuditServiceClient, revoke_key_packages_request::Selector,
};
use keypool_service::{
    clock::{Clock, SystemClock},
    testing::packages::PackageMaker,
};
use std::time::Duration;
use tonic::Status;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a condition holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A maker of packages that end so long after now, by the machine's clock.
pub fn ending_in(user: &str, device: &str, lifetime: SignedDuration) -> PackageMaker {
    let now = SystemClock.now();
    PackageMaker::new(user, device).lifetime(now - SignedDuration::from_hours(1), now + lifetime)
}

/// The packages of a reserve.
pub fn packages(response: &ReserveKeyPackagesResponse) -> &[ReservedKeyPackage] {
    &response.reservation.as_ref().unwrap().packages
}

/// Reserves a package of one device.
pub async fn reserve_one(
    client: &mut Client,
    reservation: &str,
    user: &str,
    of: &str,
) -> Result<ReservedKeyPackage, Status> {
    let response = reserve(client, reservation, vec![device(user, of)]).await?;
    assert_eq!(packages(&response).len(), 1, "{response:?}");
    Ok(packages(&response)[0].clone())
}

/// The name of a package, as the list that the calls on holds want.
pub fn named(package: &ReservedKeyPackage) -> Vec<KeyPackageName> {
    vec![package.name.clone().unwrap()]
}

pub fn reference(package: &ReservedKeyPackage) -> Vec<u8> {
    package.name.as_ref().unwrap().key_package_ref.clone()
}

/// The refs of uploaded packages.
pub fn refs(response: &UploadKeyPackagesResponse) -> Vec<Vec<u8>> {
    response.results.iter().map(|result| result.key_package_ref.clone()).collect()
}

/// What became of each uploaded package, where it was rejected.
pub fn rejections(response: &UploadKeyPackagesResponse) -> Vec<v1::RejectionReason> {
    response.results.iter().map(v1::UploadResult::rejection_reason).collect()
}

pub fn release_request(
    reservation: &str,
    packages: Vec<KeyPackageName>,
    unusable: UnusableReason,
) -> ReleaseReservationRequest {
    let released = |name| ReleasedKeyPackage { name: Some(name), unusable_reason: unusable.into() };
    ReleaseReservationRequest {
        reservation_id: reservation.into(),
        packages: packages.into_iter().map(released).collect(),
        on_behalf_of: String::new(),
    }
}

pub async fn release(
    client: &mut Client,
    reservation: &str,
    packages: Vec<KeyPackageName>,
) -> Result<(), Status> {
    let request = release_request(reservation, packages, UnusableReason::Unspecified);
    client.release_reservation(request).await.map(drop)
}

/// Extends holds to ten minutes from now.
pub fn extend_request(
    reservation: &str,
    packages: Vec<KeyPackageName>,
) -> ExtendReservationRequest {
    ExtendReservationRequest {
        reservation_id: reservation.into(),
        packages,
        ttl: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        on_behalf_of: String::new(),
    }
}

pub async fn extend(
    client: &mut Client,
    reservation: &str,
    packages: Vec<KeyPackageName>,
) -> Result<Timestamp, Status> {
    let response = client.extend_reservation(extend_request(reservation, packages)).await?;
    Ok(time(&response.into_inner().expire_time.unwrap()))
}

pub fn time(raw: &prost_types::Timestamp) -> Timestamp {
    Timestamp::new(raw.seconds, raw.nanos).unwrap()
}

pub fn revoke_request(user: &str, device: &str, selector: Selector) -> RevokeKeyPackagesRequest {
    RevokeKeyPackagesRequest {
        user_id: user.into(),
        device_id: device.into(),
        selector: Some(selector),
    }
}

/// Revokes every package of a device, and returns how many those were.
pub async fn revoke_all(client: &mut Client, user: &str, device: &str) -> u32 {
    let request = revoke_request(user, device, Selector::All(AllKeyPackages {}));
    client.revoke_key_packages(request).await.unwrap().into_inner().revoked_count
}

/// Says which packages a device has the private keys of.
pub async fn reconcile(
    client: &mut Client,
    user: &str,
    device: &str,
    refs: Vec<Vec<u8>>,
) -> Result<ReconcilePoolResponse, Status> {
    let request = ReconcilePoolRequest {
        user_id: user.into(),
        device_id: device.into(),
        key_package_refs: refs,
        as_of: None,
    };
    Ok(client.reconcile_pool(request).await?.into_inner())
}

/// The states of all devices of a user.
pub async fn devices(client: &mut Client, user: &str) -> Vec<DevicePoolStatus> {
    let request = v1::GetPoolStatusRequest { user_id: user.into(), device_id: String::new() };
    client.get_pool_status(request).await.unwrap().into_inner().devices
}

/// The last-resort package's use count.
pub async fn uses(client: &mut Client, user: &str, device: &str) -> u64 {
    pool(client, user, device).await.last_resort.unwrap().use_count
}

/// The spend log's entries that match, at most 1000 of them.
pub async fn spend_log(endpoint: &str, filter: SpendLogFilter) -> Vec<SpendLogEntry> {
    let mut audit = AuditServiceClient::connect(endpoint.to_owned()).await.unwrap();
    let request = ListSpendLogRequest { filter: Some(filter), page_size: 1000, ..<_>::default() };
    audit.list_spend_log(request).await.unwrap().into_inner().entries
}
