//! Extensions and capabilities that break RFC 9420, sections 7.2, 13 and 16.8.

use super::{Device, GREASE, Hostile, rejected};
use crate::{
    pool::validation::{RejectionReason as Reason, wire},
    testing::forge::{extension, forge},
};
use wire::LAST_RESORT;

const APPLICATION_ID: u16 = 1;
const RATCHET_TREE: u16 = 2;
const REQUIRED_CAPABILITIES: u16 = 3;
const EXTERNAL_PUB: u16 = 4;
const EXTERNAL_SENDERS: u16 = 5;

/// Empty extensions that fill a package: each has a type of two bytes and a length of one.
const MANY: u16 = 21_000;

type Edit = fn(&mut wire::KeyPackage);

pub(super) fn all(device: &Device<'_>) -> Vec<Hostile> {
    let mut all = misplaced(device);
    all.extend(unlisted(device));
    all.extend(edited(device));
    all
}

fn list(package: &mut wire::KeyPackage, kind: u16) {
    package.leaf_node.capabilities.extensions.push(kind);
}

/// Extensions of a group, with good and bad bodies, and others where they don't belong.
fn misplaced(device: &Device<'_>) -> Vec<Hostile> {
    let garbage: &[u8] = &[0xff; 64];
    let empty_vectors: &[u8] = &[0; 3];
    let mut all = Vec::new();
    for (name, kind) in [
        ("ratchet_tree", RATCHET_TREE),
        ("required_capabilities", REQUIRED_CAPABILITIES),
        ("external_pub", EXTERNAL_PUB),
        ("external_senders", EXTERNAL_SENDERS),
    ] {
        for (body_name, body) in
            [("garbage", garbage), ("empty vectors", empty_vectors), ("nothing", b"")]
        {
            let package = forge(&device.maker(), |package| {
                package.extensions.push(extension(kind, body));
            });
            let leaf = forge(&device.maker(), |package| {
                package.leaf_node.extensions.push(extension(kind, body));
            });
            let name = format!("{name} of {body_name}");
            all.push(rejected(name.clone(), Reason::Invalid, package));
            all.push(rejected(format!("{name} in the leaf"), Reason::Invalid, leaf));
        }
    }
    all
}

fn unlisted(device: &Device<'_>) -> Vec<Hostile> {
    let mut all = Vec::new();
    for kind in [0, 6, LAST_RESORT, 0xF001, GREASE, u16::MAX] {
        let package =
            forge(&device.maker(), |package| package.extensions.push(extension(kind, b"")));
        let leaf = forge(&device.maker(), |package| {
            package.leaf_node.extensions.push(extension(kind, b""));
        });
        let name = format!("extension {kind:#06x} not in the capabilities");
        all.push(rejected(name.clone(), Reason::ExtensionNotInCapabilities, package));
        let name = format!("{name}, in the leaf");
        all.push(rejected(name, Reason::ExtensionNotInCapabilities, leaf));
    }
    all
}

fn edited(device: &Device<'_>) -> Vec<Hostile> {
    let cases: [(_, _, Edit); 17] = [
        ("last_resort with a body", Reason::Invalid, |package| {
            list(package, LAST_RESORT);
            package.extensions.push(extension(LAST_RESORT, b"body"));
        }),
        ("last_resort with a NUL", Reason::Invalid, |package| {
            list(package, LAST_RESORT);
            package.extensions.push(extension(LAST_RESORT, &[0]));
        }),
        ("last_resort in the leaf", Reason::Invalid, |package| {
            list(package, LAST_RESORT);
            package.leaf_node.extensions.push(extension(LAST_RESORT, b""));
        }),
        ("last_resort twice", Reason::Invalid, |package| {
            list(package, LAST_RESORT);
            package.extensions = vec![extension(LAST_RESORT, b""), extension(LAST_RESORT, b"")];
        }),
        ("an unknown extension twice", Reason::Invalid, |package| {
            list(package, 0xF001);
            package.extensions = vec![extension(0xF001, b"one"), extension(0xF001, b"other")];
        }),
        ("a GREASE extension twice", Reason::Invalid, |package| {
            list(package, GREASE);
            package.leaf_node.extensions = vec![extension(GREASE, b""), extension(GREASE, b"")];
        }),
        ("application_id twice", Reason::Invalid, |package| {
            let one = extension(APPLICATION_ID, b"\x03app");
            package.leaf_node.extensions = vec![one.clone(), one];
        }),
        ("application_id in the package", Reason::Invalid, |package| {
            package.extensions.push(extension(APPLICATION_ID, b"\x03app"));
        }),
        ("application_id that is cut off", Reason::Invalid, |package| {
            package.leaf_node.extensions.push(extension(APPLICATION_ID, b"\x04app"));
        }),
        ("application_id that claims a gigabyte", Reason::Invalid, |package| {
            let body = [0xBF, 0xFF, 0xFF, 0xFF, 0];
            package.leaf_node.extensions.push(extension(APPLICATION_ID, &body));
        }),
        ("application_id with a byte more", Reason::Invalid, |package| {
            package.leaf_node.extensions.push(extension(APPLICATION_ID, b"\x03apps"));
        }),
        ("one extension again and again", Reason::Invalid, |package| {
            list(package, 0xF001);
            package.extensions = vec![extension(0xF001, b""); MANY.into()];
        }),
        ("extensions without end", Reason::ExtensionNotInCapabilities, |package| {
            package.extensions = (0..MANY).map(|kind| extension(0x1000 + kind, b"")).collect();
        }),
        ("extensions without end in the leaf", Reason::ExtensionNotInCapabilities, |package| {
            package.leaf_node.extensions =
                (0..MANY).map(|kind| extension(0x1000 + kind, b"")).collect();
        }),
        ("capabilities without mls10", Reason::Invalid, |package| {
            package.leaf_node.capabilities.versions = vec![GREASE, 2];
        }),
        ("capabilities without its suite", Reason::CipherSuiteNotInCapabilities, |package| {
            package.leaf_node.capabilities.cipher_suites = (2..30_000).collect();
        }),
        ("capabilities without its credential", Reason::CredentialNotInCapabilities, |package| {
            package.leaf_node.capabilities.credentials.clear();
        }),
    ];
    let case = |(name, reason, edit): (&str, _, Edit)| {
        rejected(name, reason, forge(&device.maker(), edit))
    };
    cases.into_iter().map(case).collect()
}
