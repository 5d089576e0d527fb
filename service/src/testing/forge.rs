//! Packages that OpenMLS would not make, with good signatures.

use super::packages::PackageMaker;
use crate::pool::validation::wire;
use openmls_traits::signatures::Signer;
use tls_codec::{Deserialize, Serialize, Size, VLBytes};

/// Makes a package, edits it, and signs it again as its owner could.
pub(crate) fn forge(maker: &PackageMaker, edit: impl FnOnce(&mut wire::KeyPackage)) -> Vec<u8> {
    let mut package = made(maker);
    edit(&mut package);
    signed(maker, package)
}

/// A new package, taken apart.
pub(crate) fn made(maker: &PackageMaker) -> wire::KeyPackage {
    wire::KeyPackage::tls_deserialize_exact(maker.make()).expect("a KeyPackage that was made")
}

/// The package, with signatures of its maker's.
pub(crate) fn signed(maker: &PackageMaker, package: wire::KeyPackage) -> Vec<u8> {
    signed_as(maker, package, LEAF_NODE, KEY_PACKAGE)
}

/// The package, signed under one label for its leaf and another for itself (RFC 9420, section 5.1.2).
pub(crate) fn signed_as(
    maker: &PackageMaker,
    mut package: wire::KeyPackage,
    leaf_label: &[u8],
    label: &[u8],
) -> Vec<u8> {
    let leaf = &mut package.leaf_node;
    leaf.signature = sign(maker, leaf_label, &unsigned(leaf, &leaf.signature));
    package.signature = sign(maker, label, &unsigned(&package, &package.signature));
    encoded(&package)
}

/// The label of a leaf's signature (RFC 9420, section 7.2).
pub(crate) const LEAF_NODE: &[u8] = b"MLS 1.0 LeafNodeTBS";
/// The label of a package's signature (RFC 9420, section 10).
pub(crate) const KEY_PACKAGE: &[u8] = b"MLS 1.0 KeyPackageTBS";

/// An extension for [`forge`].
pub(crate) fn extension(extension_type: u16, data: &[u8]) -> wire::Extension {
    wire::Extension { extension_type, data: data.into() }
}

/// A struct as it goes over the wire.
pub(crate) fn encoded(value: &impl Serialize) -> Vec<u8> {
    value.tls_serialize_detached().expect("what was decoded can be encoded")
}

/// A struct's encoding without the signature at its end.
fn unsigned(signed: &impl Serialize, signature: &VLBytes) -> Vec<u8> {
    let mut bytes = encoded(signed);
    bytes.truncate(bytes.len() - signature.tls_serialized_len());
    bytes
}

/// SignWithLabel (RFC 9420, section 5.1.2).
fn sign(maker: &PackageMaker, label: &[u8], content: &[u8]) -> VLBytes {
    let content = encoded(&(VLBytes::from(label), VLBytes::from(content)));
    maker.signer().sign(&content).expect("the signer has its private key").into()
}
