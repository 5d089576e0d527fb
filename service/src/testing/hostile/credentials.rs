//! Credentials of others, and of kinds that can't be checked (RFC 9420, section 5.3).

use super::{Device, GREASE, Hostile, rejected};
use crate::{
    pool::validation::{RejectionReason as Reason, wire},
    testing::{
        forge::{encoded, forge},
        packages::PackageMaker,
    },
};
use tls_codec::VLBytes;

const X509: u16 = 2;

pub(super) fn all(device: &Device<'_>) -> Vec<Hostile> {
    let mut all = identities(device);
    for (name, kind, content) in [
        ("x509 without a certificate", X509, Vec::new()),
        ("x509 with an empty certificate", X509, vec![0]),
        ("x509 with a long chain", X509, chain(1000)),
        ("x509 with a chain of empty certificates", X509, vec![0; 60_000]),
        ("x509 with a chain that claims a gigabyte", X509, vec![0xBF, 0xFF, 0xFF, 0xFF]),
        ("a GREASE credential", GREASE, b"grease".to_vec()),
        ("a credential of type 0", 0, Vec::new()),
        ("a credential of a private type", 0xF001, Vec::new()),
    ] {
        let credential =
            wire::Credential { credential_type: kind, content: content.as_slice().into() };
        let listed = forge(&device.maker(), |package| {
            package.leaf_node.credential = credential.clone();
            package.leaf_node.capabilities.credentials = vec![1, kind];
        });
        all.push(rejected(name, Reason::UnsupportedCredentialType, listed));
        let unlisted = forge(&device.maker(), |package| {
            package.leaf_node.credential = credential.clone();
        });
        let name = format!("{name}, not in the capabilities");
        all.push(rejected(name, Reason::CredentialNotInCapabilities, unlisted));
    }
    all
}

/// Certificates of sixty bytes.
fn chain(certificates: usize) -> Vec<u8> {
    encoded(&VLBytes::from(vec![0x30; 60])).repeat(certificates)
}

/// Well signed, by the key that they name, and still not the device's.
fn identities(device: &Device<'_>) -> Vec<Hostile> {
    let Device { user, device } = device;
    let own = format!("{user}/{device}");
    let cases = [
        ("of another user", format!("mallory/{device}")),
        ("of another device", format!("{user}/another")),
        ("of the user alone", (*user).to_owned()),
        ("empty", String::new()),
        ("in capitals", own.to_uppercase()),
        ("with a slash more", format!("{own}/")),
        ("with a NUL at its end", format!("{own}\0")),
        ("with a NUL inside", format!("{user}\0/{device}")),
        ("with a NUL before it", format!("\0{own}")),
        ("twice", own.repeat(2)),
        ("many times", own.repeat(60_000 / own.len())),
        ("of NULs", "\0".repeat(60_000)),
        ("with a byte order mark", format!("\u{feff}{own}")),
    ];
    let case = |(name, identity): (_, String)| {
        let bytes = PackageMaker::for_identity(identity).make();
        rejected(format!("identity {name}"), Reason::WrongIdentity, bytes)
    };
    let mut all: Vec<_> = cases.into_iter().map(case).collect();
    let not_utf_8 = PackageMaker::for_identity([own.as_bytes(), &[0xff]].concat()).make();
    all.push(rejected("identity that is no text", Reason::WrongIdentity, not_utf_8));
    all
}
