use super::{super::contain_panics, *};
use crate::types::CipherSuite;
use RejectionReason as Reason;
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
