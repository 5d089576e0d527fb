//! What the tests over gRPC share: clients, short ways to say the usual calls, and errors taken apart.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test file uses its own part

pub mod calls;
pub mod forge;
pub mod http;
pub mod locks;
pub mod network;
pub mod process;
pub mod proxy;
pub mod raw;

use keypool_proto::v1::{
    self, ErrorReason, KeyPackageErrorDetails, KeyPackageName, ReserveErrorDetails,
    ReserveKeyPackagesRequest, ReserveKeyPackagesResponse, SpendReservationRequest, Target,
    UploadKeyPackagesRequest, UploadKeyPackagesResponse,
    key_package_service_client::KeyPackageServiceClient,
};
use keypool_service::testing::{packages::PackageMaker, server::TestServer};
use prost::Message;
use tonic::{Request, Status, transport::Channel};
use tonic_types::{StatusExt, pb};

pub type Client = KeyPackageServiceClient<Channel>;

/// The group of every reserve that does not say another.
pub const GROUP: &[u8] = b"group";

pub async fn client(server: &TestServer) -> Client {
    Client::connect(server.endpoint()).await.unwrap()
}

/// A request with a token.
pub fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let authorization = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", authorization);
    request
}

/// An upload of packages, as a request.
pub fn upload_request(
    user: &str,
    device: &str,
    key_packages: Vec<Vec<u8>>,
) -> UploadKeyPackagesRequest {
    UploadKeyPackagesRequest { user_id: user.into(), device_id: device.into(), key_packages }
}

/// Uploads packages and checks that each is accepted.
pub async fn upload(
    client: &mut Client,
    user: &str,
    device: &str,
    packages: Vec<Vec<u8>>,
) -> UploadKeyPackagesResponse {
    let response = client
        .upload_key_packages(upload_request(user, device, packages))
        .await
        .unwrap()
        .into_inner();
    for result in &response.results {
        assert_eq!(result.outcome(), v1::UploadOutcome::Accepted, "{}", result.message);
    }
    response
}

/// Makes and uploads `count` one-time packages.
pub async fn fill(
    client: &mut Client,
    user: &str,
    device: &str,
    count: usize,
) -> UploadKeyPackagesResponse {
    upload(client, user, device, PackageMaker::new(user, device).make_many(count)).await
}

/// Makes and uploads a last-resort package.
pub async fn fill_last_resort(
    client: &mut Client,
    user: &str,
    device: &str,
) -> UploadKeyPackagesResponse {
    upload(client, user, device, vec![PackageMaker::new(user, device).last_resort().make()]).await
}

pub fn user(user: &str) -> Target {
    Target { user_id: user.into(), ..Target::default() }
}

pub fn device(user: &str, device: &str) -> Target {
    Target { user_id: user.into(), device_id: device.into(), ..Target::default() }
}

/// A reserve for [`GROUP`], of cipher suite 1.
pub fn reserve_request(reservation: &str, targets: Vec<Target>) -> ReserveKeyPackagesRequest {
    ReserveKeyPackagesRequest {
        reservation_id: reservation.into(),
        group_id: GROUP.into(),
        targets,
        cipher_suites: vec![1],
        ..ReserveKeyPackagesRequest::default()
    }
}

pub async fn reserve(
    client: &mut Client,
    reservation: &str,
    targets: Vec<Target>,
) -> Result<ReserveKeyPackagesResponse, Status> {
    Ok(client.reserve_key_packages(reserve_request(reservation, targets)).await?.into_inner())
}

/// The names of the packages that a reserve returned.
pub fn names(response: &ReserveKeyPackagesResponse) -> Vec<KeyPackageName> {
    let packages = &response.reservation.as_ref().unwrap().packages;
    packages.iter().map(|package| package.name.clone().unwrap()).collect()
}

pub fn spend_request(reservation: &str, packages: Vec<KeyPackageName>) -> SpendReservationRequest {
    SpendReservationRequest {
        reservation_id: reservation.into(),
        group_id: GROUP.into(),
        packages,
        on_behalf_of: String::new(),
    }
}

pub async fn spend(
    client: &mut Client,
    reservation: &str,
    packages: Vec<KeyPackageName>,
) -> Result<(), Status> {
    client.spend_reservation(spend_request(reservation, packages)).await.map(drop)
}

/// The pool of a device's only cipher suite.
pub async fn pool(client: &mut Client, user: &str, device: &str) -> v1::CipherSuitePool {
    let request = v1::GetPoolStatusRequest { user_id: user.into(), device_id: device.into() };
    let status = client.get_pool_status(request).await.unwrap().into_inner().devices.remove(0);
    assert_eq!(status.pools.len(), 1, "{status:?}");
    status.pools[0].clone()
}

/// Checks promise 7 on a pool.
pub fn assert_balanced(pool: &v1::CipherSuitePool) {
    let sum = pool.available
        + pool.reserved
        + pool.quarantined
        + pool.returned
        + pool.spent
        + pool.expired
        + pool.revoked
        + pool.purged;
    assert_eq!(pool.accepted, sum, "the books don't balance: {pool:?}");
}

/// The reason of an error, from its ErrorInfo.
pub fn reason(status: &Status) -> ErrorReason {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "keypool");
    ErrorReason::from_reason(&info.reason).unwrap_or_else(|| panic!("unknown reason in {status:?}"))
}

/// The field paths of an INVALID_ARGUMENT.
pub fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    violations.iter().map(|violation| violation.field.clone()).collect()
}

fn own_details<M: Message + prost::Name + Default>(status: &Status) -> M {
    let all = pb::Status::decode(status.details()).unwrap();
    let url = format!("type.googleapis.com/{}", M::full_name());
    let own = all.details.iter().find(|any| any.type_url == url);
    M::decode(own.unwrap_or_else(|| panic!("no {url} in {status:?}")).value.as_slice()).unwrap()
}

pub fn reserve_details(status: &Status) -> ReserveErrorDetails {
    own_details(status)
}

pub fn package_details(status: &Status) -> KeyPackageErrorDetails {
    own_details(status)
}
