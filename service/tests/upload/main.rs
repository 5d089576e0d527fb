//! What becomes of uploaded packages: each is judged for itself, and every reason to reject one.

#![allow(unreachable_pub, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod concurrent;
mod hostile;
mod last_resort;
mod late;
mod rejected;
mod remembered;
mod stored;

use keypool_proto::v1::{
    RejectionReason, UploadKeyPackagesRequest, UploadKeyPackagesResponse, UploadOutcome,
    UploadResult,
};
use keypool_service::{
    config::Config,
    testing::{packages::PackageMaker, server::TestServer},
};
use support::{Client, upload_request};

fn bob() -> PackageMaker {
    PackageMaker::new("bob", "phone")
}

/// Uploads packages, whatever becomes of them.
async fn send(
    client: &mut Client,
    user: &str,
    device: &str,
    packages: Vec<Vec<u8>>,
) -> UploadKeyPackagesResponse {
    let request: UploadKeyPackagesRequest = upload_request(user, device, packages);
    client.upload_key_packages(request).await.unwrap().into_inner()
}

/// Uploads packages of bob's phone.
async fn send_bobs(client: &mut Client, packages: Vec<Vec<u8>>) -> UploadKeyPackagesResponse {
    send(client, "bob", "phone", packages).await
}

fn outcomes(response: &UploadKeyPackagesResponse) -> Vec<UploadOutcome> {
    response.results.iter().map(UploadResult::outcome).collect()
}

/// The reason why the only package of an upload was rejected.
fn rejection(response: &UploadKeyPackagesResponse) -> RejectionReason {
    assert_eq!(outcomes(response), [UploadOutcome::Rejected], "{response:?}");
    response.results[0].rejection_reason()
}

fn count(response: &UploadKeyPackagesResponse, reason: RejectionReason) -> usize {
    response.results.iter().filter(|result| result.rejection_reason() == reason).count()
}

/// A service that doesn't ask which device a credential names, only which user.
async fn start_with_user_credentials() -> TestServer {
    TestServer::start_with(|config| {
        config.validation.credential_identity = "{user_id}".into();
    })
    .await
}

fn small_pools(config: &mut Config) {
    (config.pool.low_watermark, config.pool.target, config.pool.cap) = (1, 2, 4);
}
