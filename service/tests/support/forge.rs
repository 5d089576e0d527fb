//! Packages that an honest device would not make.

use keypool_service::testing::packages::PackageMaker;
use openmls_traits::signatures::Signer;
use tls_codec::{Serialize, VLBytes};

/// Where the init key of a package of cipher suite 1 stands (RFC 9420, section 10).
const INIT_KEY: std::ops::Range<usize> = 5..37;

/// The length of a signature of cipher suite 1, with its length in front.
const SIGNATURE: usize = 2 + 64;

/// A new package with the init key of another: well signed, and so with another ref.
pub fn with_init_key_of(maker: &PackageMaker, other: &[u8]) -> Vec<u8> {
    let mut package = maker.make();
    package[INIT_KEY].copy_from_slice(&other[INIT_KEY]);
    package.truncate(package.len() - SIGNATURE);
    // SignWithLabel (RFC 9420, section 5.1.2); the leaf's own signature does not cover the init key.
    let content =
        (VLBytes::from(b"MLS 1.0 KeyPackageTBS".as_slice()), VLBytes::from(package.as_slice()));
    let signature = maker.signer().sign(&content.tls_serialize_detached().unwrap()).unwrap();
    package.extend(VLBytes::from(signature).tls_serialize_detached().unwrap());
    package
}
