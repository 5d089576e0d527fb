//! A test of an application's own, as it would write it.
#![cfg(feature = "test-server")]
#![allow(clippy::unwrap_used)]

use keypool_client::{BasicIdentity, Error, PoolKeeper, TestServer};
use openmls::prelude::{BasicCredential, Ciphersuite, CredentialWithKey};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use std::time::Duration;

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

#[tokio::test]
async fn a_package_is_reserved_once_and_returns_when_its_hold_lapses() {
    let server = TestServer::start().await;
    let client = server.client();
    let provider = OpenMlsRustCrypto::default();
    let signer = SignatureKeyPair::new(SUITE.signature_algorithm()).unwrap();
    let identity = BasicIdentity::default().identity("bob", "phone").unwrap();
    let credential = CredentialWithKey {
        credential: BasicCredential::new(identity.into()).into(),
        signature_key: signer.public().into(),
    };
    let keeper = PoolKeeper::builder(client.clone(), "bob", "phone", [SUITE])
        .build(&provider, credential, &signer);
    keeper.refresh().await.unwrap();

    let mut reservation = client.reserve(b"group").user("bob").send().await.unwrap();
    let first = reservation.packages()[0].name.clone();
    server.advance(Duration::from_secs(61));
    // It comes last: another has seen it.
    let other = loop {
        let other = client.reserve(b"another group").user("bob").send().await.unwrap();
        assert!(!other.packages()[0].last_resort);
        if other.packages()[0].name == first {
            break other;
        }
        other.keep();
    };
    other.keep();
    let error = reservation.spend().await.unwrap_err();
    assert!(matches!(error, Error::ReservationLost(_)), "{error:?}");
    server.stop().await;
}
