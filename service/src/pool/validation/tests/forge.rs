//! Packages that OpenMLS would not make, with good signatures.

use super::super::{rules::decode, wire};
use crate::testing::packages::PackageMaker;
use openmls_traits::signatures::Signer;
use tls_codec::{Serialize, Size, VLBytes};

/// Makes a package, edits it, and signs it again as its owner could.
pub(super) fn forge(maker: &PackageMaker, edit: impl FnOnce(&mut wire::KeyPackage)) -> Vec<u8> {
    let mut package = decode(&maker.make()).unwrap();
    edit(&mut package);
    let leaf = &mut package.leaf_node;
    leaf.signature = sign(maker, b"MLS 1.0 LeafNodeTBS", &unsigned(leaf, &leaf.signature));
    let unsigned = unsigned(&package, &package.signature);
    package.signature = sign(maker, b"MLS 1.0 KeyPackageTBS", &unsigned);
    package.tls_serialize_detached().unwrap()
}

/// An extension for [`forge`].
pub(super) fn extension(extension_type: u16, data: &[u8]) -> wire::Extension {
    wire::Extension { extension_type, data: data.into() }
}

/// A struct's encoding without the signature at its end.
fn unsigned(signed: &impl Serialize, signature: &VLBytes) -> Vec<u8> {
    let mut bytes = signed.tls_serialize_detached().unwrap();
    bytes.truncate(bytes.len() - signature.tls_serialized_len());
    bytes
}

/// SignWithLabel (RFC 9420, section 5.1.2).
fn sign(maker: &PackageMaker, label: &[u8], content: &[u8]) -> VLBytes {
    let content = (VLBytes::from(label), VLBytes::from(content));
    maker.signer().sign(&content.tls_serialize_detached().unwrap()).unwrap().into()
}
