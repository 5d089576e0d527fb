use super::{super::openmls_checks::CRYPTO, *};
use crate::testing::forge::forge;
use RejectionReason as Reason;
use openmls::prelude::{KeyPackageIn, MlsMessageOut, ProtocolVersion};
use tls_codec::{Deserialize, Serialize};

#[test]
fn wrapped_in_an_mls_message() {
    let package = KeyPackageIn::tls_deserialize_exact(alice().make())
        .unwrap()
        .validate(&*CRYPTO, ProtocolVersion::Mls10)
        .unwrap();
    let message = MlsMessageOut::from(package).tls_serialize_detached().unwrap();
    let rejection = check(&message).unwrap_err();
    assert_eq!(rejection.reason, Reason::Malformed);
    assert_eq!(
        rejection.to_string(),
        "KeyPackage is wrapped in an MLSMessage; upload the bare KeyPackage struct"
    );
}

#[test]
fn the_cheaper_rule_before_the_signature() {
    let other = alice();
    let bytes = forge(&alice(), |package| {
        package.init_key = package.leaf_node.encryption_key.clone();
        package.leaf_node.signature_key = other.signer().public().into();
    });
    assert_eq!(reason(&bytes), Reason::InitKeyEqualsEncryptionKey);
}

#[test]
fn not_yet_valid_even_by_seconds() {
    let start = now() + SignedDuration::from_secs(10);
    assert_eq!(reason(&alice().lifetime(start, start + DAY).make()), Reason::NotYetValid);
}

#[test]
fn about_to_expire() {
    let ends_soon = alice().lifetime(now() - DAY, now() + SignedDuration::from_secs(599)).make();
    let rejection = check(&ends_soon).unwrap_err();
    assert_eq!(rejection.reason, Reason::Expired);
    assert!(rejection.message.contains("so soon"), "{rejection}");
}

#[test]
fn valid_by_the_machines_clock_but_not_here() {
    let second = SignedDuration::from_secs(1);
    let good = check(&alice().make()).unwrap();
    let early = check_at(&good.bytes, good.not_before - second).unwrap_err();
    assert_eq!(early.reason, Reason::NotYetValid);
    let late = check_at(&good.bytes, good.not_after).unwrap_err();
    assert_eq!(late.reason, Reason::Expired);
    assert!(late.message.contains("has expired"), "{late}");
}

#[test]
fn valid_here_but_not_by_the_machines_clock() {
    let later = alice().lifetime(now() + DAY, now() + 9 * DAY).make();
    assert_eq!(check_at(&later, now() + 2 * DAY).unwrap_err().reason, Reason::NotYetValid);
    let earlier = alice().lifetime(now() - 9 * DAY, now() - DAY).make();
    assert_eq!(check_at(&earlier, now() - 2 * DAY).unwrap_err().reason, Reason::Expired);
}

#[test]
fn last_resort_not_in_capabilities() {
    let bytes = forge(&alice().last_resort(), |package| {
        package.leaf_node.capabilities.extensions.clear();
    });
    let rejection = check(&bytes).unwrap_err();
    assert_eq!(rejection.reason, Reason::ExtensionNotInCapabilities);
    assert!(rejection.message.contains("0x000a"), "{rejection}");
}

/// RFC 9420, section 13.5, allows it, OpenMLS 0.9 does not. When this fails, OpenMLS has learnt it.
#[test]
fn a_wrong_identity_is_told_with_the_right_one() {
    let rejection = check(&PackageMaker::for_identity("mallory/phone").make()).unwrap_err();
    assert!(rejection.message.contains("alice/phone"), "{rejection}");
}

#[test]
fn a_rejection_names_the_package_if_it_can_be_read() {
    let good = check(&alice().make()).unwrap();
    assert!(check(&good.bytes[1..]).unwrap_err().reference.is_none());
    let late = check_at(&good.bytes, good.not_after).unwrap_err();
    assert_eq!(late.reference, Some(good.reference));
}

#[test]
fn a_key_that_nobody_can_use_is_told_by_its_name() {
    let message = |edit: fn(&mut crate::pool::validation::wire::KeyPackage)| {
        check(&forge(&alice(), edit)).unwrap_err().message
    };
    let init = message(|package| package.init_key = vec![0; 32].into());
    assert!(init.contains("an init key that nobody can encrypt to"), "{init}");
    let encryption = message(|package| package.leaf_node.encryption_key = vec![9; 31].into());
    assert!(encryption.contains("an encryption key of 31 bytes"), "{encryption}");
    let signature = message(|package| package.leaf_node.signature_key = vec![9; 65].into());
    assert!(signature.contains("a signature key of 65 bytes"), "{signature}");
}
