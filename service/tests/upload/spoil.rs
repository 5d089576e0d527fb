//! Packages of bob's phone that break one rule each. What is edited is checked before the signatures.

use jiff::{SignedDuration, Timestamp};
use keypool_proto::v1::RejectionReason;
use keypool_service::{
    clock::{Clock, SystemClock},
    testing::packages::PackageMaker,
};
use std::ops::Range;

// Where things stand in a package of cipher suite 1 of bob/phone (RFC 9420, sections 7.2 and 10).
const VERSION: usize = 1;
const CIPHER_SUITE: usize = 3;
const INIT_KEY: Range<usize> = 5..37;
const ENCRYPTION_KEY: Range<usize> = 38..70;
const CREDENTIAL_TYPE: usize = 104;
const LISTED_VERSION: usize = 117;
const LISTED_CIPHER_SUITE: usize = 120;
const LISTED_EXTENSION: usize = 123; // of a last-resort package only
const LISTED_CREDENTIAL: usize = 125;
const SOURCE: Range<usize> = 126..143; // with the lifetime that belongs to it

const X509: u8 = 2;
const SOURCE_UPDATE: u8 = 2;
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

pub fn bob() -> PackageMaker {
    PackageMaker::new("bob", "phone")
}

fn edited(edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut package = bob().make();
    edit(&mut package);
    package
}

fn with_lifetime(not_before: Timestamp, not_after: Timestamp) -> Vec<u8> {
    bob().lifetime(not_before, not_after).make()
}

/// A package for each reason that can be told from the package alone.
pub fn one_for_each_reason() -> Vec<(RejectionReason, Vec<u8>)> {
    use RejectionReason as Reason;
    let now = SystemClock.now();
    let swap_keys = |package: &mut Vec<u8>| package.copy_within(ENCRYPTION_KEY, INIT_KEY.start);
    let from_update = |package: &mut Vec<u8>| drop(package.splice(SOURCE, [SOURCE_UPDATE]));
    let with_x509 = |package: &mut Vec<u8>| {
        package[CREDENTIAL_TYPE] = X509;
        package[LISTED_CREDENTIAL] = X509;
    };
    let mut unlisted_extension = bob().last_resort().make();
    unlisted_extension[LISTED_EXTENSION] = 0x0b;
    vec![
        (Reason::Malformed, edited(|package| package.push(0))),
        (Reason::TooLarge, vec![0; 64 * 1024 + 1]),
        (Reason::UnsupportedProtocolVersion, edited(|package| package[VERSION] = 2)),
        (Reason::UnsupportedCipherSuite, edited(|package| package[CIPHER_SUITE] = 7)),
        (Reason::InvalidSignature, edited(|package| *package.last_mut().unwrap() ^= 1)),
        (Reason::InitKeyEqualsEncryptionKey, edited(swap_keys)),
        (Reason::InvalidLeafNodeSource, edited(from_update)),
        (Reason::NotYetValid, with_lifetime(now + HOUR, now + DAY)),
        (Reason::Expired, with_lifetime(now - DAY, now - HOUR)),
        (Reason::InvalidLifetime, with_lifetime(now - HOUR, now + 90 * DAY)),
        (Reason::ExtensionNotInCapabilities, unlisted_extension),
        (Reason::CredentialNotInCapabilities, edited(|package| package[LISTED_CREDENTIAL] = X509)),
        (Reason::CipherSuiteNotInCapabilities, edited(|package| package[LISTED_CIPHER_SUITE] = 2)),
        (Reason::UnsupportedCredentialType, edited(with_x509)),
        (Reason::WrongIdentity, PackageMaker::new("mallory", "phone").make()),
        (Reason::Invalid, edited(|package| package[LISTED_VERSION] = 2)),
    ]
}

/// Whether a package with this fault can be read far enough to have a ref.
pub fn has_ref(reason: RejectionReason) -> bool {
    use RejectionReason as Reason;
    !matches!(
        reason,
        Reason::Malformed
            | Reason::TooLarge
            | Reason::UnsupportedProtocolVersion
            | Reason::UnsupportedCipherSuite
    )
}
