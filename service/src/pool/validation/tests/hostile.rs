use super::{super::contain_panics, *};
use crate::types::CipherSuite;
use RejectionReason as Reason;
use proptest::{collection::vec, prelude::*, sample::Index};
use std::sync::LazyLock;

static PACKAGE: LazyLock<Vec<u8>> = LazyLock::new(|| alice().last_resort().make());

#[test]
fn every_truncation_is_malformed() {
    for suite in [1, 2, 3] {
        let bytes = alice().cipher_suite(CipherSuite(suite)).make();
        for length in 0..bytes.len() {
            assert_eq!(reason(&bytes[..length]), Reason::Malformed, "{length} bytes");
        }
    }
}

#[test]
fn no_package_with_a_flipped_bit_is_accepted() {
    for suite in [1, 2] {
        let mut bytes = alice().last_resort().cipher_suite(CipherSuite(suite)).make();
        for index in 0..bytes.len() {
            for bit in 0..8 {
                bytes[index] ^= 1 << bit;
                let rejection = check(&bytes).unwrap_err();
                assert!(!rejection.message.contains("could not be checked"), "{index}.{bit}");
                bytes[index] ^= 1 << bit;
            }
        }
        check(&bytes).unwrap();
    }
}

#[test]
fn a_vector_that_claims_a_gigabyte_is_malformed() {
    let bytes = [&PACKAGE[..4], &[0xBF, 0xFF, 0xFF, 0xFF], &PACKAGE[5..]].concat();
    assert_eq!(reason(&bytes), Reason::Malformed);
}

#[test]
fn wrapping_upon_wrapping_exhausts_no_stack() {
    let bytes = [0, 1, 0, 5].repeat(ValidationPolicy::default().max_bytes / 4);
    assert_eq!(reason(&bytes), Reason::UnsupportedCipherSuite);
}

#[test]
fn lengths_with_more_bytes_than_needed_are_malformed() {
    let init_key_length = PACKAGE[4];
    let bytes = [&PACKAGE[..4], &[0x40, init_key_length], &PACKAGE[5..]].concat();
    assert_eq!(reason(&bytes), Reason::Malformed);
}

#[test]
fn a_panic_rejects_the_package() {
    let rejection = contain_panics::<()>(|| panic!("a fault in a decoder")).unwrap_err();
    assert_eq!(rejection.reason, Reason::Invalid);
    assert!(!rejection.message.contains("fault"), "{rejection}");
}

/// Some bytes of a package replaced by others, possibly more or fewer.
fn mutations() -> impl Strategy<Value = Vec<u8>> {
    (any::<Index>(), 0..8_usize, vec(any::<u8>(), 0..8)).prop_map(|(start, removed, inserted)| {
        let start = start.index(PACKAGE.len());
        let end = PACKAGE.len().min(start + removed);
        [&PACKAGE[..start], &inserted, &PACKAGE[end..]].concat()
    })
}

proptest! {
    #[test]
    fn random_bytes_are_rejected(bytes in vec(any::<u8>(), 0..1024)) {
        prop_assert!(check(&bytes).is_err());
    }

    #[test]
    fn random_bytes_after_a_good_header_are_rejected(bytes in vec(any::<u8>(), 0..1024)) {
        prop_assert!(check(&[&PACKAGE[..4], &bytes].concat()).is_err());
    }

    #[test]
    fn mutated_packages_are_rejected_without_a_panic(bytes in mutations()) {
        prop_assume!(bytes != *PACKAGE);
        let rejection = check(&bytes).unwrap_err();
        prop_assert!(!rejection.message.contains("could not be checked"));
    }
}
