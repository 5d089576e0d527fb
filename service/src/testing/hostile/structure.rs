//! Not one KeyPackage struct, or not of a kind that can be read.

use super::{Device, GREASE, Hostile, MAX_BYTES, rejected};
use crate::{
    pool::validation::{RejectionReason as Reason, wire},
    testing::forge::{encoded, extension, forge, made},
};
use tls_codec::Size;

pub(super) fn all(device: &Device<'_>) -> Vec<Hostile> {
    let mut all = vec![
        rejected("no bytes", Reason::Malformed, Vec::new()),
        rejected("zeros", Reason::UnsupportedProtocolVersion, vec![0; MAX_BYTES]),
        rejected("ones", Reason::UnsupportedProtocolVersion, vec![0xff; MAX_BYTES]),
        rejected("too many zeros", Reason::TooLarge, vec![0; MAX_BYTES + 1]),
        rejected("too large, and well signed", Reason::TooLarge, too_large(device)),
    ];
    all.extend(lengths(device));
    all.extend(headers(device));
    all.extend(sources(device));
    all
}

fn too_large(device: &Device<'_>) -> Vec<u8> {
    let one_more = |body: usize| {
        forge(&device.maker(), |package| {
            package.leaf_node.capabilities.extensions.push(0xF001);
            package.extensions.push(extension(0xF001, &vec![0; body]));
        })
    };
    let rest = one_more(MAX_BYTES).len() - MAX_BYTES;
    one_more(MAX_BYTES + 1 - rest)
}

/// Too few bytes, too many, and vectors that claim more than there are.
fn lengths(device: &Device<'_>) -> Vec<Hostile> {
    let good = device.maker().make();
    let mut all = vec![
        rejected("one byte too many", Reason::Malformed, [&good[..], &[0]].concat()),
        rejected("two packages", Reason::Malformed, device.maker().make_many(2).concat()),
        rejected("without its first byte", Reason::UnsupportedProtocolVersion, good[1..].to_vec()),
    ];
    all.extend((1..good.len()).map(|length| {
        let name = format!("cut off after {length} bytes");
        rejected(name, Reason::Malformed, good[..length].to_vec())
    }));

    let package = full(device);
    let bytes = encoded(&package);
    for (name, at) in vectors(&package) {
        let length_of_length = 1 << (bytes[at] >> 6);
        let with_length =
            |length: &[u8]| [&bytes[..at], length, &bytes[at + length_of_length..]].concat();
        for (claim, length) in [
            ("a gigabyte", &[0xBF, 0xFF, 0xFF, 0xFF][..]),
            ("more than RFC 9420 allows", &[0xC0, 0, 0, 0, 0x40, 0, 0, 0]),
            ("a prefix that does not exist", &[0xFF; 8]),
            ("nothing in four bytes", &[0x80, 0, 0, 0]),
        ] {
            let name = format!("{name} claims {claim}");
            all.push(rejected(name, Reason::Malformed, with_length(length)));
        }
    }
    all
}

/// A package with something in each of its vectors. It is read no further than its structure: nobody signs it.
fn full(device: &Device<'_>) -> wire::KeyPackage {
    let mut package = made(&device.maker());
    let listed = &mut package.leaf_node.capabilities;
    (listed.extensions, listed.proposals) = (vec![0xF001, 0xF002], vec![0xF003]);
    package.leaf_node.extensions.push(extension(0xF001, b"in the leaf"));
    package.extensions.push(extension(0xF002, b"in the package"));
    package
}

/// Every vector of a package, and where its length stands.
fn vectors(package: &wire::KeyPackage) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut at = 4; // version and cipher suite
    let mut vector = |name: &str, skipped: usize, vector: &dyn Size| {
        at += skipped;
        found.push((name.to_owned(), at));
        at += vector.tls_serialized_len();
    };
    let leaf = &package.leaf_node;
    let listed = &leaf.capabilities;
    vector("init_key", 0, &package.init_key);
    vector("encryption_key", 0, &leaf.encryption_key);
    vector("signature_key", 0, &leaf.signature_key);
    vector("credential", 2, &leaf.credential.content);
    vector("versions", 0, &listed.versions);
    vector("cipher_suites", 0, &listed.cipher_suites);
    vector("capabilities.extensions", 0, &listed.extensions);
    vector("proposals", 0, &listed.proposals);
    vector("credentials", 0, &listed.credentials);
    vector("leaf_node.extensions", leaf.source.tls_serialized_len(), &leaf.extensions);
    vector("leaf_node.signature", 0, &leaf.signature);
    vector("extensions", 0, &package.extensions);
    vector("signature", 0, &package.signature);
    // One extension in each list, of a type of two bytes, behind a length of one.
    for list in ["leaf_node.extensions", "extensions"] {
        let start = found.iter().find(|(name, _)| name == list).map(|(_, at)| at + 3);
        found.extend(start.map(|at| (format!("{list}[0].extension_data"), at)));
    }
    found
}

/// Versions and cipher suites that nobody can handle, and a message in place of a package.
fn headers(device: &Device<'_>) -> Vec<Hostile> {
    let maker = device.maker();
    let mut all = Vec::new();
    for version in [0, 2, GREASE, u16::MAX] {
        let bytes = forge(&maker, |package| package.version = version);
        let name = format!("protocol version {version}");
        all.push(rejected(name, Reason::UnsupportedProtocolVersion, bytes));
    }
    for suite in [0, 4, 5, 6, 7, GREASE, 0xF000, u16::MAX] {
        let bytes = forge(&maker, |package| package.cipher_suite = suite);
        let name = format!("cipher suite {suite}");
        all.push(rejected(name, Reason::UnsupportedCipherSuite, bytes));
    }
    let wrapped = |bytes: &[u8]| [&[0, 1, 0, 5], bytes].concat();
    let message = wrapped(&maker.make());
    let twice = wrapped(&message);
    all.push(rejected("an MLSMessage", Reason::Malformed, message));
    all.push(rejected("an MLSMessage in another", Reason::UnsupportedCipherSuite, twice));
    let nested = [0, 1, 0, 5].repeat(MAX_BYTES / 4);
    all.push(rejected("nothing but MLSMessages", Reason::UnsupportedCipherSuite, nested));
    all
}

/// Leaves that were made for something else (RFC 9420, section 7.2).
fn sources(device: &Device<'_>) -> Vec<Hostile> {
    let mut all = Vec::new();
    for (name, source) in [
        ("update", wire::LeafNodeSource::Update),
        ("commit", wire::LeafNodeSource::Commit(vec![0; 32].into())),
        ("commit without a parent hash", wire::LeafNodeSource::Commit(Vec::new().into())),
    ] {
        let bytes = forge(&device.maker(), |package| package.leaf_node.source = source);
        let name = format!("leaf node source {name}");
        all.push(rejected(name, Reason::InvalidLeafNodeSource, bytes));
    }
    let package = full(device);
    let bytes = encoded(&package);
    let listed = vectors(&package).into_iter().find(|(name, _)| name == "leaf_node.extensions");
    let source = listed.map_or(0, |(_, at)| at - package.leaf_node.source.tls_serialized_len());
    for number in [0, 4, 0xff] {
        let mut bytes = bytes.clone();
        bytes[source] = number;
        let name = format!("leaf node source {number}, which does not exist");
        all.push(rejected(name, Reason::Malformed, bytes));
    }
    all
}
