//! The public keys: a package with a key that nobody can use would fail the invite instead of the upload.

use super::{Rejection, RejectionReason, wire};
use openmls_traits::types::{Ciphersuite, HpkeKemType, SignatureScheme};

/// Each key must be one of the suite's (RFC 9420, section 5.1; RFC 9180, section 7.1), and the two HPKE keys must differ
/// (RFC 9420, sections 10 and 10.1).
pub(super) fn check(package: &wire::KeyPackage, suite: Ciphersuite) -> Result<(), Rejection> {
    let init_key = package.init_key.as_slice();
    let encryption_key = package.leaf_node.encryption_key.as_slice();
    if init_key == encryption_key {
        return Err(RejectionReason::InitKeyEqualsEncryptionKey.into());
    }
    for (name, key) in [("an init", init_key), ("an encryption", encryption_key)] {
        hpke_key(name, key, suite.hpke_kem_algorithm())?;
    }
    match signature_key_length(suite.signature_algorithm()) {
        Some(length) => {
            has_length("a signature", package.leaf_node.signature_key.as_slice(), length)
        }
        None => Ok(()),
    }
}

/// The length of a signature key: uncompressed where it is a point (RFC 9420, section 5.1.1), where known.
fn signature_key_length(scheme: SignatureScheme) -> Option<usize> {
    match scheme {
        SignatureScheme::ED25519 => Some(32),
        SignatureScheme::ECDSA_SECP256R1_SHA256 => Some(65),
        _ => None,
    }
}

fn hpke_key(name: &str, key: &[u8], kem: HpkeKemType) -> Result<(), Rejection> {
    let usable = match kem {
        HpkeKemType::DhKem25519 => has_length(name, key, 32).map(|()| is_x25519(key))?,
        HpkeKemType::DhKemP256 => has_length(name, key, 65).map(|()| is_p256(key))?,
        _ => true,
    };
    if !usable {
        let message = format!("has {name} key that nobody can encrypt to; generate a key pair");
        return Err(RejectionReason::Invalid.because(message));
    }
    Ok(())
}

fn has_length(name: &str, key: &[u8], length: usize) -> Result<(), Rejection> {
    if key.len() == length {
        return Ok(());
    }
    let message = format!("has {name} key of {} bytes, but its suite's have {length}", key.len());
    Err(RejectionReason::Invalid.because(message))
}

/// Whether the coordinates are of a point on the curve.
fn is_p256(key: &[u8]) -> bool {
    p256::PublicKey::from_sec1_bytes(key).is_ok()
}

/// Whether a key pair can have this key: it is below the prime 2^255 - 19, so that no two keys are one, and its secrets
/// are not always zero (RFC 7748, section 6.1).
fn is_x25519(key: &[u8]) -> bool {
    let &[lowest, ref middle @ .., highest] = key else { return false };
    let below_2_255 = highest < 0x80;
    let below_prime = highest < 0x7f || middle.iter().any(|byte| *byte < 0xff) || lowest < 0xed;
    below_2_255 && below_prime && !LOW_ORDER.iter().any(|low| low == key)
}

/// The points of low order: 0, 1, two of order 8, and -1.
const LOW_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    number(1, 0, 0),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    number(0xec, 0xff, 0x7f),
];

/// A number by its lowest byte, those between, and its highest.
const fn number(lowest: u8, middle: u8, highest: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = lowest;
    bytes[31] = highest;
    bytes
}

#[cfg(test)]
mod tests {
    use super::{super::openmls_checks::CRYPTO, *};
    use openmls_traits::crypto::OpenMlsCrypto;

    fn can_be_sealed_to(key: &[u8]) -> bool {
        let suite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;
        CRYPTO.hpke_seal(suite.hpke_config(), key, b"", b"", b"").is_ok()
    }

    #[test]
    fn nobody_can_encrypt_to_a_point_of_low_order() {
        for key in LOW_ORDER {
            assert!(!can_be_sealed_to(&key), "{key:02x?}");
            assert!(!is_x25519(&key), "{key:02x?}");
        }
    }

    #[test]
    fn a_second_way_to_write_a_key_is_refused() {
        for (lowest, highest) in [(0xed, 0x7f), (0xee, 0x7f), (0xff, 0x7f), (9, 0x80), (0, 0xff)] {
            let key = number(lowest, 0xff, highest);
            assert!(!is_x25519(&key), "{key:02x?}");
        }
        for key in [number(9, 0, 0), number(0xeb, 0xff, 0x7f), number(0xff, 0xff, 0x7e)] {
            assert!(can_be_sealed_to(&key), "{key:02x?}");
            assert!(is_x25519(&key), "{key:02x?}");
        }
    }
}
