//! Keys that are none of the cipher suite's, or that nobody can use.

use super::{Device, Hostile, rejected};
use crate::{
    pool::validation::{RejectionReason as Reason, wire},
    testing::{forge::forge, packages::PackageMaker},
};

pub(super) fn all(device: &Device<'_>) -> Vec<Hostile> {
    let (x25519, p256) = (device.maker(), device.p256());
    let mut all = vec![rejected(
        "one key as init key and encryption key",
        Reason::InitKeyEqualsEncryptionKey,
        forge(&x25519, |package| package.init_key = package.leaf_node.encryption_key.clone()),
    )];
    all.extend(hpke_keys(&x25519, "X25519", &x25519_keys()));
    all.extend(hpke_keys(&p256, "P-256", &p256_keys()));
    all.extend(signature_keys(&x25519, &p256));
    all
}

type Key = (&'static str, Vec<u8>);

fn x25519_keys() -> Vec<Key> {
    let mut one = vec![0; 32];
    one[0] = 1;
    let mut minus_one = vec![0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    let mut prime = minus_one.clone();
    prime[0] = 0xed;
    let mut above_2_255 = vec![9; 32];
    above_2_255[31] = 0x89;
    let of_order_8 = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];
    vec![
        ("no bytes", Vec::new()),
        ("a byte less", vec![9; 31]),
        ("a byte more", vec![9; 33]),
        ("the length of a P-256 key", vec![4; 65]),
        ("many bytes", vec![9; 60_000]),
        ("zero", vec![0; 32]),
        ("one", one),
        ("minus one", minus_one),
        ("a point of order 8", of_order_8.to_vec()),
        ("the prime", prime),
        ("a number above 2^255", above_2_255),
        ("nothing but ones", vec![0xff; 32]),
    ]
}

fn p256_keys() -> Vec<Key> {
    let mut off_curve = vec![1; 65];
    off_curve[0] = 4;
    let mut above_prime = vec![0xff; 65];
    above_prime[0] = 4;
    vec![
        ("the point at infinity", vec![0]),
        ("zeros", vec![0; 65]),
        ("the length of an X25519 key", vec![9; 32]),
        ("a compressed point", [&[2], &[1; 32][..]].concat()),
        ("a point off the curve", off_curve),
        ("coordinates above the prime", above_prime),
    ]
}

/// Each key as init key and as encryption key.
fn hpke_keys(maker: &PackageMaker, curve: &str, keys: &[Key]) -> Vec<Hostile> {
    let mut all = Vec::new();
    for (name, key) in keys {
        let init = forge(maker, |package| package.init_key = key.as_slice().into());
        all.push(rejected(format!("{curve} init key: {name}"), Reason::Invalid, init));
        let set = |package: &mut wire::KeyPackage| {
            package.leaf_node.encryption_key = key.as_slice().into();
        };
        let encryption = forge(maker, set);
        all.push(rejected(format!("{curve} encryption key: {name}"), Reason::Invalid, encryption));
    }
    all
}

fn signature_keys(ed25519: &PackageMaker, p256: &PackageMaker) -> Vec<Hostile> {
    let own = p256.signer().public();
    // The parity of y, and x.
    let compressed = [&[2 + (own[64] & 1)], &own[1..33]].concat();
    let mut identity = vec![0; 32];
    identity[0] = 1;
    let cases = [
        ("no bytes", Reason::Invalid, ed25519, Vec::new()),
        ("a byte less", Reason::Invalid, ed25519, vec![9; 31]),
        ("a byte more", Reason::Invalid, ed25519, vec![9; 33]),
        ("of P-256", Reason::Invalid, ed25519, own.to_vec()),
        ("zero", Reason::InvalidSignature, ed25519, vec![0; 32]),
        ("the neutral element", Reason::InvalidSignature, ed25519, identity),
        ("nothing but ones", Reason::InvalidSignature, ed25519, vec![0xff; 32]),
        ("of Ed25519", Reason::Invalid, p256, ed25519.signer().public().to_vec()),
        ("its own, compressed", Reason::Invalid, p256, compressed),
        ("zeros of P-256", Reason::InvalidSignature, p256, vec![0; 65]),
    ];
    let case = |(name, reason, maker, key): (_, _, _, Vec<u8>)| {
        let bytes = forge(maker, |package| package.leaf_node.signature_key = key.into());
        rejected(format!("signature key: {name}"), reason, bytes)
    };
    cases.into_iter().map(case).collect()
}
