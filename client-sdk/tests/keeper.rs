//! A device's pool, against a service with scripted answers.
#![allow(clippy::unwrap_used)]

mod support;

use keypool_client::mls::RefreshError;
use keypool_client::proto::v1::*;
use keypool_client::{Client, PoolKeeper};
use openmls::prelude::{tls_codec::*, *};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::storage::StorageProvider;
use support::device::{Device, SUITE};
use support::*;
use tonic::Code;

type Keeper<'a> = PoolKeeper<&'a OpenMlsRustCrypto, &'a SignatureKeyPair>;

fn keeper<'a>(client: &Client, bob: &'a Device) -> Keeper<'a> {
    let credential = bob.credential.clone();
    PoolKeeper::new(
        client.clone(),
        &bob.provider,
        &bob.user_id,
        &bob.device_id,
        credential,
        &bob.signer,
        [SUITE],
    )
}

fn unknown() -> tonic::Status {
    failure(Code::NotFound, ErrorReason::UnknownUser, vec![])
}

fn status(recommended_upload_count: u32, use_count: u64) -> GetPoolStatusResponse {
    let last_resort = Some(LastResortStatus { use_count, ..Default::default() });
    let pool = CipherSuitePool {
        cipher_suite: 1,
        recommended_upload_count,
        last_resort,
        ..Default::default()
    };
    let device = DevicePoolStatus { pools: vec![pool], ..Default::default() };
    GetPoolStatusResponse { devices: vec![device] }
}

fn uploaded(results: Vec<UploadResult>) -> UploadKeyPackagesResponse {
    UploadKeyPackagesResponse { results, pool_status: Some(DevicePoolStatus::default()) }
}

fn accepted(count: usize) -> Vec<UploadResult> {
    let outcome = UploadOutcome::Accepted.into();
    vec![UploadResult { outcome, ..Default::default() }; count]
}

fn rejected(reason: RejectionReason) -> UploadResult {
    let outcome = UploadOutcome::Rejected.into();
    UploadResult { outcome, rejection_reason: reason.into(), ..Default::default() }
}

/// The packages of an upload, as the service would check them.
fn parse(request: &UploadKeyPackagesRequest, bob: &Device) -> Vec<KeyPackage> {
    let parse = |bytes: &Vec<u8>| {
        let package = KeyPackageIn::tls_deserialize_exact_bytes(bytes).unwrap();
        package.validate(bob.provider.crypto(), ProtocolVersion::Mls10).unwrap()
    };
    request.key_packages.iter().map(parse).collect()
}

fn has_private_keys(bob: &Device, package: &KeyPackage) -> bool {
    let hash_ref = package.hash_ref(bob.provider.crypto()).unwrap();
    let stored: Option<KeyPackageBundle> = bob.provider.storage().key_package(&hash_ref).unwrap();
    stored.is_some()
}

#[tokio::test]
async fn an_unknown_device_fills_its_pool() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    fake.status.answer(Err(unknown()));
    fake.upload.answer(Ok(uploaded(accepted(33))));

    let refreshed = keeper(&client, &bob).refresh().await.unwrap();

    assert_eq!(refreshed.uploaded.len(), 33);
    let packages = parse(&fake.upload.requests()[0], &bob);
    assert_eq!(packages.iter().filter(|package| package.last_resort()).count(), 1);
    for package in &packages {
        let lifetime = package.life_time();
        let days = (lifetime.not_after() - lifetime.not_before()) / (24 * 60 * 60);
        assert_eq!(days, 14);
        let capabilities = package.leaf_node().capabilities();
        assert!(capabilities.extensions().contains(&ExtensionType::LastResort));
        assert!(has_private_keys(&bob, package));
    }
}

#[tokio::test]
async fn only_what_is_recommended_is_uploaded() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    let keeper = keeper(&client, &bob);

    fake.status.answer(Ok(status(0, 0)));
    assert!(keeper.refresh().await.unwrap().uploaded.is_empty());
    assert_eq!(fake.upload.requests().len(), 0);

    fake.status.answer(Ok(status(0, 1)));
    fake.upload.answer(Ok(uploaded(accepted(1))));
    keeper.refresh().await.unwrap();
    assert!(parse(&fake.upload.requests()[0], &bob)[0].last_resort());

    fake.status.answer(Ok(status(130, 0)));
    fake.upload.answer(Ok(uploaded(accepted(100)))).answer(Ok(uploaded(accepted(30))));
    assert_eq!(keeper.refresh().await.unwrap().uploaded.len(), 130);
}

#[tokio::test]
async fn the_private_keys_of_rejected_packages_are_deleted() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    fake.status.answer(Ok(status(3, 0)));
    let mut results = accepted(1);
    results.push(rejected(RejectionReason::PoolFull));
    results.push(rejected(RejectionReason::AlreadySpent));
    fake.upload.answer(Ok(uploaded(results)));

    let refreshed = keeper(&client, &bob).refresh().await.unwrap();

    assert_eq!(refreshed.rejected.len(), 2);
    assert_eq!(refreshed.rejected[0].reason, RejectionReason::PoolFull);
    let packages = parse(&fake.upload.requests()[0], &bob);
    let kept: Vec<_> = packages.iter().map(|package| has_private_keys(&bob, package)).collect();
    assert_eq!(kept, [true, false, true]);
}

#[tokio::test]
async fn after_a_failed_upload_the_private_keys_are_kept() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    fake.status.answer(Ok(status(1, 0)));
    fake.upload.answer(Err(failure(Code::Internal, ErrorReason::Internal, vec![])));

    let error = keeper(&client, &bob).refresh().await.unwrap_err();

    let RefreshError::Upload { unconfirmed, .. } = error else { panic!("{error:?}") };
    assert_eq!(unconfirmed.len(), 1);
    let packages = parse(&fake.upload.requests()[0], &bob);
    assert!(has_private_keys(&bob, &packages[0]));
}
