use super::{
    super::{IdentityTemplate, openmls_checks::CRYPTO, rules},
    *,
};
use crate::types::CipherSuite;
use openmls::prelude::{
    BasicCredential, Ciphersuite, Credential, KeyPackageIn, OpenMlsCrypto, ProtocolVersion,
};
use tls_codec::{Deserialize, Serialize};

fn supported_suites() -> Vec<CipherSuite> {
    CRYPTO.supported_ciphersuites().into_iter().map(|suite| CipherSuite(suite.into())).collect()
}

#[test]
fn packages_of_every_supported_suite() {
    for suite in supported_suites() {
        let maker = alice().cipher_suite(suite);
        for bytes in maker.make_many(3) {
            let package = check(&bytes).unwrap();
            assert_eq!(package.bytes, bytes);
            assert_eq!(package.cipher_suite, suite);
            assert_eq!(package.signature_key, maker.signer().public());
            assert!(!package.last_resort);
        }
    }
}

#[test]
fn what_is_read_is_what_openmls_reads() {
    for suite in supported_suites() {
        let bytes = alice().cipher_suite(suite).make();
        let package = check(&bytes).unwrap();
        let theirs = KeyPackageIn::tls_deserialize_exact(&bytes)
            .unwrap()
            .validate(&*CRYPTO, ProtocolVersion::Mls10)
            .unwrap();
        let seconds = |time: Timestamp| u64::try_from(time.as_second()).unwrap();
        assert_eq!(package.reference.as_bytes(), theirs.hash_ref(&*CRYPTO).unwrap().as_slice());
        assert_eq!(package.init_key, theirs.hpke_init_key().as_slice());
        assert_eq!(seconds(package.not_before), theirs.life_time().not_before());
        assert_eq!(seconds(package.not_after), theirs.life_time().not_after());
    }
}

#[test]
fn the_credential_is_kept_as_encoded() {
    let credential: Credential = BasicCredential::new(b"alice/phone".to_vec()).into();
    let encoded = credential.tls_serialize_detached().unwrap();
    assert_eq!(check(&alice().make()).unwrap().credential, encoded);
}

#[test]
fn references_are_as_long_as_the_suites_hash() {
    for (suite, length) in [(1_u16, 32), (7, 48), (5, 64)] {
        let suite = Ciphersuite::try_from(suite).unwrap();
        assert_eq!(rules::reference(b"package", suite).unwrap().as_bytes().len(), length);
    }
}

#[test]
fn last_resort_packages() {
    assert!(check(&alice().last_resort().make()).unwrap().last_resort);
}

#[test]
fn lifetimes_at_their_limits() {
    let longest = alice().lifetime(now(), now() + 90 * DAY).make();
    check(&longest).unwrap();

    let not_after = now() + DAY;
    let bytes = alice().lifetime(now(), not_after).make();
    check_at(&bytes, not_after - SignedDuration::from_mins(10)).unwrap();
}

#[test]
fn identities_of_another_template() {
    let policy = ValidationPolicy {
        identity: "urn:{device_id}@{user_id}".parse::<IdentityTemplate>().unwrap(),
        ..ValidationPolicy::default()
    };
    let (user, device) = (UserId::new("bob").unwrap(), DeviceId::new("laptop").unwrap());
    let bytes = PackageMaker::for_identity("urn:laptop@bob").make();
    validate(&bytes, &user, &device, &policy, now()).unwrap();
}

#[test]
fn debug_output_shows_no_key_material() {
    let package = check(&alice().make()).unwrap();
    let shown = format!("{package:?}");
    assert!(shown.contains(&package.reference.to_string()));
    for secret in [&package.bytes, &package.init_key, &package.signature_key] {
        assert!(!shown.contains(&format!("{secret:?}")));
    }
    assert!(!shown.contains("key:"));
}
