//! Packages that look wrong and are not.

use super::{Device, GREASE};
use crate::{
    pool::validation::wire,
    testing::forge::{extension, forge},
};

/// Odd packages of a device of a user, each with its name, that must be accepted. Each is new.
#[must_use]
pub fn odd(user: &str, device: &str) -> Vec<(&'static str, Vec<u8>)> {
    let maker = Device { user, device }.maker();
    let cases: [(_, fn(&mut wire::KeyPackage)); 10] = [
        ("GREASE in every list", |package| {
            let listed = &mut package.leaf_node.capabilities;
            listed.versions.push(GREASE);
            listed.cipher_suites.insert(0, GREASE);
            listed.extensions.push(GREASE);
            listed.proposals.push(GREASE);
            listed.credentials.insert(0, GREASE);
        }),
        ("every GREASE value in every list", |package| {
            let listed = &mut package.leaf_node.capabilities;
            listed.versions.extend(grease());
            listed.cipher_suites.extend(grease());
            listed.extensions.extend(grease());
            listed.proposals.extend(grease());
            listed.credentials.extend(grease());
        }),
        ("every GREASE value as extension", |package| {
            package.leaf_node.capabilities.extensions.extend(grease());
            package.extensions = grease().map(|kind| extension(kind, b"?")).collect();
        }),
        ("every GREASE value as extension of the leaf", |package| {
            package.leaf_node.capabilities.extensions.extend(grease());
            package.leaf_node.extensions = grease().map(|kind| extension(kind, b"")).collect();
        }),
        ("unknown extensions", |package| {
            package.leaf_node.capabilities.extensions = vec![0xF001, 0xF002, 6];
            package.extensions = vec![extension(0xF001, b"unknown"), extension(6, b"")];
            package.leaf_node.extensions = vec![extension(1, b"\x03app"), extension(0xF002, b"")];
        }),
        ("one extension in the package and in its leaf", |package| {
            package.leaf_node.capabilities.extensions = vec![0xF001];
            package.extensions = vec![extension(0xF001, b"package")];
            package.leaf_node.extensions = vec![extension(0xF001, b"leaf")];
        }),
        ("capabilities listed twice", |package| {
            let listed = &mut package.leaf_node.capabilities;
            listed.versions = vec![1, 1];
            listed.cipher_suites.extend_from_within(..);
            listed.credentials = vec![1, 1, 1];
        }),
        ("capabilities without end", |package| {
            let listed = &mut package.leaf_node.capabilities;
            listed.proposals = (0x1000..0x1000 + 16_000).collect();
            listed.extensions = (0x1000..0x1000 + 16_000).collect();
        }),
        ("extensions without end", |package| {
            let kinds = 0x1000..0x1000 + 13_000;
            package.leaf_node.capabilities.extensions = kinds.clone().collect();
            package.extensions = kinds.map(|kind| extension(kind, b"")).collect();
        }),
        ("a large extension", |package| {
            package.leaf_node.capabilities.extensions = vec![0xF001];
            package.extensions = vec![extension(0xF001, &vec![0; 65_000])];
        }),
    ];
    cases.into_iter().map(|(name, edit)| (name, forge(&maker, edit))).collect()
}

/// The GREASE values (RFC 9420, section 13.5).
fn grease() -> impl Iterator<Item = u16> {
    (0..15).map(|n| 0x0A0A + 0x1010 * n)
}
