use super::{
    super::{openmls_checks::CRYPTO, wire},
    forge::{extension, forge},
    *,
};
use RejectionReason as Reason;
use openmls::prelude::{KeyPackageIn, MlsMessageOut, ProtocolVersion};
use tls_codec::{Deserialize, Serialize};

#[test]
fn oversized() {
    let limit = ValidationPolicy::default().max_bytes;
    assert_eq!(reason(&vec![0; limit + 1]), Reason::TooLarge);
    assert_ne!(reason(&vec![0; limit]), Reason::TooLarge);
}

#[test]
fn other_protocol_versions() {
    for version in [0_u16, 2, GREASE, u16::MAX] {
        let bytes = forge(&alice(), |package| package.version = version);
        assert_eq!(reason(&bytes), Reason::UnsupportedProtocolVersion, "{version}");
    }
}

#[test]
fn other_cipher_suites() {
    for suite in [0_u16, 4, 5, 7, GREASE, 0xF000, u16::MAX] {
        let bytes = forge(&alice(), |package| package.cipher_suite = suite);
        assert_eq!(reason(&bytes), Reason::UnsupportedCipherSuite, "{suite}");
    }
}

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
fn trailing_bytes() {
    let bytes = [alice().make(), vec![0]].concat();
    assert_eq!(reason(&bytes), Reason::Malformed);
    let two = alice().make_many(2).concat();
    assert_eq!(reason(&two), Reason::Malformed);
}

#[test]
fn signatures_of_another_key() {
    let other = alice();
    let bytes = forge(&alice(), |package| {
        package.leaf_node.signature_key = other.signer().public().into();
    });
    assert_eq!(reason(&bytes), Reason::InvalidSignature);
}

#[test]
fn a_good_signature_on_the_leaf_only() {
    let mut bytes = alice().make();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(reason(&bytes), Reason::InvalidSignature);
}

#[test]
fn one_key_as_init_key_and_encryption_key() {
    let bytes = forge(&alice(), |package| {
        package.init_key = package.leaf_node.encryption_key.clone();
    });
    assert_eq!(reason(&bytes), Reason::InitKeyEqualsEncryptionKey);
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
fn keys_of_another_cipher_suite() {
    for length in [0, 31, 33, 65] {
        let bytes = forge(&alice(), |package| package.init_key = vec![4; length].into());
        assert_eq!(reason(&bytes), Reason::Invalid);
        let bytes = forge(&alice(), |package| {
            package.leaf_node.encryption_key = vec![4; length].into();
        });
        assert_eq!(reason(&bytes), Reason::Invalid);
    }
}

#[test]
fn leaves_made_for_something_else() {
    let parent_hash = wire::LeafNodeSource::Commit(vec![0; 32].into());
    for source in [wire::LeafNodeSource::Update, parent_hash] {
        let bytes = forge(&alice(), |package| package.leaf_node.source = source);
        assert_eq!(reason(&bytes), Reason::InvalidLeafNodeSource);
    }
}

#[test]
fn not_yet_valid_even_by_seconds() {
    let start = now() + SignedDuration::from_secs(10);
    assert_eq!(reason(&alice().lifetime(start, start + DAY).make()), Reason::NotYetValid);
}

#[test]
fn expired_or_about_to() {
    let expired = alice().lifetime(now() - DAY, now() - HOUR).make();
    assert_eq!(reason(&expired), Reason::Expired);
    let ends_now = alice().lifetime(now() - DAY, now()).make();
    assert_eq!(reason(&ends_now), Reason::Expired);

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
fn long_endless_and_inverted_lifetimes() {
    let start = u64::try_from((now() - HOUR).as_second()).unwrap();
    let ten_years = 10 * 365 * 24 * 60 * 60;
    for (not_before, not_after) in [
        (0, u64::MAX),
        (start, u64::MAX),
        (u64::MAX, u64::MAX),
        (u64::MAX, start),
        (start, i64::MAX.unsigned_abs()),
        (0, start + ten_years),
        (start, start + ten_years),
        (start, start + 90 * 24 * 60 * 60 + 1),
        (start, start),
        (start + 1, start),
        (start, 0),
    ] {
        let lifetime = wire::Lifetime { not_before, not_after };
        let bytes = forge(&alice(), |package| {
            package.leaf_node.source = wire::LeafNodeSource::KeyPackage(lifetime);
        });
        assert_eq!(reason(&bytes), Reason::InvalidLifetime, "{lifetime:?}");
    }
}

#[test]
fn extensions_not_in_capabilities() {
    for kind in [6, 0xF001, GREASE] {
        let in_leaf = forge(&alice(), |package| {
            package.leaf_node.extensions.push(extension(kind, b""));
        });
        assert_eq!(reason(&in_leaf), Reason::ExtensionNotInCapabilities);
        let in_package = forge(&alice(), |package| package.extensions.push(extension(kind, b"")));
        assert_eq!(reason(&in_package), Reason::ExtensionNotInCapabilities);
    }
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
fn a_grease_extension_although_in_capabilities() {
    let bytes = forge(&alice(), |package| {
        package.leaf_node.capabilities.extensions.push(GREASE);
        package.extensions.push(extension(GREASE, b""));
    });
    let rejection = check(&bytes).unwrap_err();
    assert_eq!(rejection.reason, Reason::ExtensionNotInCapabilities);
    assert!(rejection.message.contains("GREASE"), "{rejection}");
}

#[test]
fn extensions_twice_misplaced_or_malformed() {
    const LAST_RESORT: u16 = 10;
    let twice = forge(&alice().last_resort(), |package| {
        package.extensions.push(extension(LAST_RESORT, b""));
    });
    let misplaced_in_leaf = forge(&alice().last_resort(), |package| {
        package.leaf_node.extensions.push(extension(LAST_RESORT, b""));
    });
    let misplaced_in_package =
        forge(&alice(), |package| package.extensions.push(extension(1, b"\x03app")));
    let malformed = forge(&alice().last_resort(), |package| {
        package.extensions = vec![extension(LAST_RESORT, b"body")];
    });
    for bytes in [twice, misplaced_in_leaf, misplaced_in_package, malformed] {
        assert_eq!(reason(&bytes), Reason::Invalid);
    }
}

#[test]
fn capabilities_without_what_is_used() {
    let bytes = forge(&alice(), |package| package.leaf_node.capabilities.versions.clear());
    assert_eq!(reason(&bytes), Reason::Invalid);
    let bytes = forge(&alice(), |package| package.leaf_node.capabilities.cipher_suites = vec![2]);
    assert_eq!(reason(&bytes), Reason::CipherSuiteNotInCapabilities);
    let bytes = forge(&alice(), |package| package.leaf_node.capabilities.credentials = vec![2]);
    assert_eq!(reason(&bytes), Reason::CredentialNotInCapabilities);
}

#[test]
fn credentials_that_are_not_basic() {
    const X509: u16 = 2;
    for credential_type in [X509, GREASE, 0xF001] {
        let bytes = forge(&alice(), |package| {
            package.leaf_node.credential.credential_type = credential_type;
            package.leaf_node.capabilities.credentials = vec![1, credential_type];
        });
        assert_eq!(reason(&bytes), Reason::UnsupportedCredentialType);
    }
}

#[test]
fn identities_of_others() {
    for identity in ["mallory/phone", "alice/laptop", "alice", "alice/phone/", "Alice/phone", ""] {
        let rejection = check(&PackageMaker::for_identity(identity).make()).unwrap_err();
        assert_eq!(rejection.reason, Reason::WrongIdentity, "{identity}");
        assert!(rejection.message.contains("alice/phone"), "{rejection}");
    }
}

#[test]
fn a_rejection_names_the_package_if_it_can_be_read() {
    let good = check(&alice().make()).unwrap();
    assert!(check(&good.bytes[1..]).unwrap_err().reference.is_none());
    let late = check_at(&good.bytes, good.not_after).unwrap_err();
    assert_eq!(late.reference, Some(good.reference));
}
