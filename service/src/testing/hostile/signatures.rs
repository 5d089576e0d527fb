//! Signatures that are none (RFC 9420, sections 5.1.2, 7.3 and 10.1).

use super::{Device, GREASE, Hostile, rejected};
use crate::{
    pool::validation::{RejectionReason as Reason, wire},
    testing::{
        forge::{KEY_PACKAGE, LEAF_NODE, encoded, extension, made, signed_as},
        packages::PackageMaker,
    },
};
use tls_codec::VLBytes;

pub(super) fn all(device: &Device<'_>) -> Vec<Hostile> {
    let (ed25519, p256) = (device.maker(), device.p256());
    let mut all = Vec::new();
    for (curve, maker) in [("Ed25519", &ed25519), ("P-256", &p256)] {
        all.extend(spoiled(maker).into_iter().map(|(name, bytes)| {
            rejected(format!("{curve} signature: {name}"), Reason::InvalidSignature, bytes)
        }));
    }
    let above_order = edited(&ed25519, |package| add_order(&mut package.signature));
    all.push(rejected("Ed25519 signature: above the order", Reason::InvalidSignature, above_order));
    all
}

type Case = (&'static str, Vec<u8>);

fn spoiled(maker: &PackageMaker) -> Vec<Case> {
    let other = made(maker);
    let stranger = PackageMaker::for_identity("stranger");
    let mut labels = vec![
        ("of the other label", signed_as(maker, made(maker), LEAF_NODE, LEAF_NODE)),
        ("of the leaf of the other label", signed_as(maker, made(maker), KEY_PACKAGE, KEY_PACKAGE)),
        ("without a label", signed_as(maker, made(maker), LEAF_NODE, b"")),
        ("of another key", signed_as(&stranger, made(maker), LEAF_NODE, KEY_PACKAGE)),
    ];
    // OpenMLS takes GREASE for unlisted: that must not hide what is wrong with the signatures.
    let mut greased = made(maker);
    greased.leaf_node.capabilities.extensions.push(GREASE);
    greased.extensions.push(extension(GREASE, b""));
    let with_bad_leaf = signed_as(maker, greased.clone(), b"", KEY_PACKAGE);
    labels.push(("of the leaf, with GREASE", with_bad_leaf));
    labels.push(("with GREASE", signed_as(maker, greased, LEAF_NODE, b"")));

    let leaf =
        |edit: fn(&mut VLBytes)| edited(maker, |package| edit(&mut package.leaf_node.signature));
    let whole = |edit: fn(&mut VLBytes)| edited(maker, |package| edit(&mut package.signature));
    labels.extend([
        ("flipped", whole(flip)),
        ("of the leaf, flipped", leaf(flip)),
        ("a byte short", whole(shorten)),
        ("of the leaf, a byte short", leaf(shorten)),
        ("a byte long", whole(|signature| signature.push(0))),
        ("of the leaf, a byte long", leaf(|signature| signature.push(0))),
        ("empty", whole(|signature| *signature = Vec::new().into())),
        ("of the leaf, empty", leaf(|signature| *signature = Vec::new().into())),
        ("zeros", whole(|signature| *signature = vec![0; 64].into())),
        ("many bytes", whole(|signature| *signature = vec![1; 60_000].into())),
        (
            "of another package",
            edited(maker, |package| package.signature = other.signature.clone()),
        ),
        ("of another init key", edited(maker, |package| package.init_key = other.init_key.clone())),
        ("of another leaf", edited(maker, |package| package.leaf_node = other.leaf_node.clone())),
    ]);
    labels
}

/// A package that is edited after it was signed.
fn edited(maker: &PackageMaker, edit: impl FnOnce(&mut wire::KeyPackage)) -> Vec<u8> {
    let mut package = made(maker);
    edit(&mut package);
    encoded(&package)
}

fn flip(signature: &mut VLBytes) {
    let last = signature.pop().unwrap_or_default();
    signature.push(last ^ 1);
}

fn shorten(signature: &mut VLBytes) {
    signature.pop();
}

/// Adds the order of the curve to the signature's number (RFC 8032, section 5.1.7): it would verify if that weren't checked.
fn add_order(signature: &mut VLBytes) {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut bytes = signature.as_slice().to_vec();
    let mut carry = 0;
    for (byte, added) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(added) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    *signature = bytes.into();
}
