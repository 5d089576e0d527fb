//! A device's pool, against a service with scripted answers.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use keypool_client::mls::{MemoryPoolStore, PackageState, PoolRecord, PoolStore, RefreshError};
use keypool_client::proto::v1::*;
use keypool_client::{Client, Error, PoolKeeper, WrongAnswer};
use openmls::prelude::{tls_codec::*, *};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::storage::StorageProvider;
use support::device::{Device, SUITE};
use support::*;
use tonic::Code;

type Keeper<'a> = PoolKeeper<&'a OpenMlsRustCrypto, &'a SignatureKeyPair>;

fn keeper<'a>(client: &Client, bob: &'a Device) -> Keeper<'a> {
    PoolKeeper::builder(client.clone(), &bob.user_id, &bob.device_id, [SUITE])
        .store(bob.store.clone())
        .build(&bob.provider, bob.credential.clone(), &bob.signer)
}

fn unknown() -> tonic::Status {
    failure(Code::NotFound, ErrorReason::UnknownUser, vec![])
}

fn pool(recommended_upload_count: u32, last_resort: &[u8]) -> DevicePoolStatus {
    let key_package_ref = last_resort.to_vec();
    let last_resort = LastResortStatus { key_package_ref, ..Default::default() };
    let pool = CipherSuitePool {
        cipher_suite: 1,
        recommended_upload_count,
        last_resort: Some(last_resort),
        ..Default::default()
    };
    DevicePoolStatus { pools: vec![pool], ..Default::default() }
}

/// The answer to a keeper that is not new.
fn status(recommended_upload_count: u32, last_resort: &[u8]) -> GetPoolStatusResponse {
    GetPoolStatusResponse {
        devices: vec![pool(recommended_upload_count, last_resort)],
        ..Default::default()
    }
}

/// The answer to a new keeper.
fn reconciled(recommended_upload_count: u32) -> ReconcilePoolResponse {
    let pool_status = Some(pool(recommended_upload_count, b"of nobody"));
    ReconcilePoolResponse { pool_status, ..Default::default() }
}

/// Answers a new keeper: its status first, whose time the list is of.
fn answer_reconcile(fake: &Fake, recommended_upload_count: u32) {
    fake.status.answer(Ok(status(recommended_upload_count, b"of nobody")));
    fake.reconcile.answer(Ok(reconciled(recommended_upload_count)));
}

fn uploaded(results: Vec<UploadResult>) -> UploadKeyPackagesResponse {
    let pool_status = Some(DevicePoolStatus::default());
    UploadKeyPackagesResponse { results, pool_status, ..Default::default() }
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
async fn results_of_other_packages_are_not_believed() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    fake.status.answer(Err(unknown()));
    let mut results = accepted(33);
    results[7].key_package_ref = vec![7; 32];
    fake.upload.answer(Ok(uploaded(results)));

    let error = keeper(&client, &bob).refresh().await.unwrap_err();

    let RefreshError::Upload(Error::WrongAnswer(wrong)) = error else { panic!("{error:?}") };
    assert_eq!(*wrong, WrongAnswer::Results);
    assert_eq!(states(&bob), [PackageState::Created; 33]);
}

/// The ref of the last-resort package among the device's records.
fn last_resort(bob: &Device) -> Vec<u8> {
    let mut records = bob.store.records().unwrap().into_iter();
    records.find(|record| record.last_resort).unwrap().key_package_ref
}

fn states(bob: &Device) -> Vec<PackageState> {
    let mut states: Vec<_> = bob.store.records().unwrap().iter().map(|one| one.state).collect();
    states.sort();
    states
}

#[tokio::test]
async fn only_what_is_recommended_is_uploaded() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    let keeper = keeper(&client, &bob);

    answer_reconcile(&fake, 0);
    fake.upload.answer(Ok(uploaded(accepted(1))));
    keeper.refresh().await.unwrap();
    assert!(parse(&fake.upload.requests()[0], &bob)[0].last_resort());

    let last_resort = last_resort(&bob);
    fake.status.answer(Ok(status(0, &last_resort)));
    assert!(keeper.refresh().await.unwrap().uploaded.is_empty());
    assert_eq!(fake.upload.requests().len(), 1);

    fake.status.answer(Ok(status(130, &last_resort)));
    fake.upload.answer(Ok(uploaded(accepted(100)))).answer(Ok(uploaded(accepted(30))));
    assert_eq!(keeper.refresh().await.unwrap().uploaded.len(), 130);
    assert_eq!(fake.reconcile.requests().len(), 1, "daily is enough");
}

/// Another process may upload meanwhile: its packages are in the store before they are in the pool, and in the status before
/// they are in the list.
#[tokio::test]
async fn a_reconcile_is_about_what_was_there_when_the_status_was_read() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    let mut read = status(0, b"of nobody");
    read.read_time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5 });
    fake.status.answer(Ok(read.clone()));
    fake.reconcile.answer(Ok(reconciled(0)));
    fake.upload.answer(Ok(uploaded(accepted(1))));
    keeper(&client, &bob).refresh().await.unwrap();
    assert_eq!(fake.reconcile.requests()[0].as_of, read.read_time);
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A store into which another process puts records after they were read for the first time.
#[derive(Debug)]
struct SharedStore {
    store: Arc<MemoryPoolStore>,
    by_others: Mutex<Vec<PoolRecord>>,
}

impl PoolStore for SharedStore {
    fn records(&self) -> Result<Vec<PoolRecord>, BoxError> {
        let records = self.store.records()?;
        self.store.put(&std::mem::take(&mut *self.by_others.lock().unwrap()))?;
        Ok(records)
    }

    fn put(&self, records: &[PoolRecord]) -> Result<(), BoxError> {
        self.store.put(records)
    }

    fn forget(&self, key_package_refs: &[Vec<u8>]) -> Result<(), BoxError> {
        self.store.forget(key_package_refs)
    }
}

#[tokio::test]
async fn what_another_process_uploads_first_is_not_judged_by_an_older_status() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    let package = bob.key_package();
    let key_package_ref = package.hash_ref(bob.provider.crypto()).unwrap().as_slice().to_vec();
    let created_at = UNIX_EPOCH + Duration::from_secs(package.life_time().not_before());
    let not_after = UNIX_EPOCH + Duration::from_secs(package.life_time().not_after());
    let mut by_other =
        PoolRecord::new(key_package_ref.clone(), 1, false, vec![1], created_at, not_after);
    by_other.state = PackageState::Uploaded;
    let store = SharedStore { store: bob.store.clone(), by_others: vec![by_other.clone()].into() };
    fake.status.answer(Err(unknown()));
    fake.upload.answer(Ok(uploaded(accepted(33))));

    let keeper = PoolKeeper::builder(client, "bob", "phone", [SUITE]).store(Arc::new(store)).build(
        &bob.provider,
        bob.credential.clone(),
        &bob.signer,
    );
    keeper.refresh().await.unwrap();

    let mut records = bob.store.records().unwrap().into_iter();
    assert_eq!(records.find(|one| one.key_package_ref == key_package_ref), Some(by_other));
}

#[tokio::test]
async fn each_cipher_suite_has_its_pool() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    let other = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;
    let keeper = PoolKeeper::builder(client, "bob", "phone", [SUITE, other]).build(
        &bob.provider,
        bob.credential.clone(),
        &bob.signer,
    );
    answer_reconcile(&fake, 3);
    fake.upload.answer(Ok(uploaded(accepted(3 + 1 + 32 + 1))));

    keeper.refresh().await.unwrap();

    let packages = parse(&fake.upload.requests()[0], &bob);
    for (suite, count) in [(SUITE, 4), (other, 33)] {
        let of_suite = packages.iter().filter(|package| package.ciphersuite() == suite);
        assert_eq!(of_suite.clone().count(), count);
        assert_eq!(of_suite.filter(|package| package.last_resort()).count(), 1);
    }
}

#[tokio::test]
async fn the_private_keys_of_rejected_packages_are_deleted() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    answer_reconcile(&fake, 4);
    let mut results = accepted(2);
    results.push(rejected(RejectionReason::WrongIdentity));
    results.push(rejected(RejectionReason::AlreadySpent));
    results.push(rejected(RejectionReason::Unspecified));
    fake.upload.answer(Ok(uploaded(results)));

    let refreshed = keeper(&client, &bob).refresh().await.unwrap();

    assert_eq!(refreshed.rejected.len(), 3);
    assert_eq!(refreshed.rejected[0].reason, RejectionReason::WrongIdentity);
    let packages = parse(&fake.upload.requests()[0], &bob);
    let kept: Vec<_> = packages.iter().map(|package| has_private_keys(&bob, package)).collect();
    assert_eq!(kept, [true, true, false, true, true]);
    use PackageState::{Failed, Spent, Uploaded};
    assert_eq!(states(&bob), [Uploaded, Uploaded, Spent, Failed, Failed]);
}

#[tokio::test]
async fn what_does_not_fit_is_uploaded_when_there_is_room() {
    for reason in [RejectionReason::PoolFull, RejectionReason::QuotaExceeded] {
        uploads_again_what_was_rejected_for(reason).await;
    }
}

async fn uploads_again_what_was_rejected_for(reason: RejectionReason) {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    let keeper = keeper(&client, &bob);
    answer_reconcile(&fake, 2);
    let full = rejected(reason);
    fake.upload.answer(Ok(uploaded(vec![full.clone(), full, accepted(1)[0].clone()])));
    assert_eq!(keeper.refresh().await.unwrap().rejected.len(), 2);

    let last_resort = last_resort(&bob);
    fake.status.answer(Ok(status(0, &last_resort)));
    keeper.refresh().await.unwrap();
    assert_eq!(fake.upload.requests().len(), 1, "not needed");

    fake.status.answer(Ok(status(3, &last_resort)));
    fake.upload.answer(Ok(uploaded(accepted(2)))).answer(Ok(uploaded(accepted(1))));
    keeper.refresh().await.unwrap();
    let [first, again, new] = &fake.upload.requests()[..] else { panic!("three uploads") };
    let sent = |request: &UploadKeyPackagesRequest| -> BTreeSet<Vec<u8>> {
        request.key_packages.iter().cloned().collect()
    };
    assert!(sent(again).is_subset(&sent(first)));
    assert!(sent(new).is_disjoint(&sent(first)));
    assert_eq!(states(&bob), [PackageState::Uploaded; 4]);
}

#[tokio::test]
async fn after_a_failed_upload_the_same_packages_are_uploaded_again() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    let keeper = keeper(&client, &bob);
    answer_reconcile(&fake, 1);
    fake.upload.answer(Err(failure(Code::Internal, ErrorReason::Internal, vec![])));

    let error = keeper.refresh().await.unwrap_err();
    assert!(matches!(error, RefreshError::Upload(_)), "{error:?}");
    let packages = parse(&fake.upload.requests()[0], &bob);
    assert!(packages.iter().all(|package| has_private_keys(&bob, package)));

    fake.status.answer(Ok(status(1, &last_resort(&bob))));
    let outcome = UploadOutcome::AlreadyPresent.into();
    let present = UploadResult { outcome, ..Default::default() };
    let mut answer = uploaded(vec![present; 2]);
    answer.pool_status = Some(pool(0, &last_resort(&bob)));
    fake.upload.answer(Ok(answer));
    assert_eq!(keeper.refresh().await.unwrap().uploaded.len(), 2);
    let [first, again] = &fake.upload.requests()[..] else { panic!("two uploads") };
    let sorted = |request: &UploadKeyPackagesRequest| {
        let mut bytes = request.key_packages.clone();
        bytes.sort();
        bytes
    };
    assert_eq!(sorted(first), sorted(again));
}

/// A keeper's first refresh, of a pool that needs nothing but a last resort.
async fn upload_one(fake: &Fake, client: &Client, bob: &Device) -> Vec<u8> {
    answer_reconcile(fake, 0);
    fake.upload.answer(Ok(uploaded(accepted(1))));
    keeper(client, bob).refresh().await.unwrap();
    last_resort(bob)
}

#[tokio::test]
async fn a_revoked_package_that_is_in_the_pool_again_is_revoked_again() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    let revoked = upload_one(&fake, &client, &bob).await;
    let mut record = bob.store.records().unwrap().remove(0);
    record.state = PackageState::Revoked;
    bob.store.put(&[record]).unwrap();

    let mut restored = reconciled(0);
    restored.pool_status = Some(pool(0, &revoked));
    fake.status.answer(Ok(status(0, &revoked)));
    fake.reconcile.answer(Ok(restored));
    fake.revoke.answer(Ok(RevokeKeyPackagesResponse { revoked_count: 1 }));
    fake.status.answer(Ok(status(0, b"")));
    fake.upload.answer(Ok(uploaded(accepted(1))));
    let refreshed = keeper(&client, &bob).refresh().await.unwrap();

    assert_eq!(refreshed.revoked, std::slice::from_ref(&revoked));
    let request = &fake.revoke.requests()[0];
    let Some(revoke_key_packages_request::Selector::Refs(refs)) = &request.selector else {
        panic!("{request:?}")
    };
    assert_eq!(refs.key_package_refs, std::slice::from_ref(&revoked));
    assert_ne!(refreshed.uploaded, [revoked]);
}

#[tokio::test]
async fn what_a_service_has_lost_is_not_uploaded_again() {
    let (fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    let lost = upload_one(&fake, &client, &bob).await;

    fake.status.answer(Err(unknown()));
    fake.upload.answer(Ok(uploaded(accepted(33))));
    let refreshed = keeper(&client, &bob).refresh().await.unwrap();

    assert_eq!(refreshed.uploaded.len(), 33);
    assert!(!refreshed.uploaded.contains(&lost));
    assert!(refreshed.deleted.is_empty(), "it may have been handed out");
    let lost = parse(&fake.upload.requests()[0], &bob).remove(0);
    assert!(has_private_keys(&bob, &lost));
}

#[tokio::test]
async fn what_a_keeper_shows_of_itself_has_no_keys() {
    let (_fake, client) = Fake::start().await;
    let (client, bob) = (client.connect().await.unwrap(), Device::new("bob", "phone"));
    let shown = format!("{:?}", keeper(&client, &bob));
    assert!(shown.contains("phone") && !shown.contains("OpenMlsRustCrypto"), "{shown}");
}
