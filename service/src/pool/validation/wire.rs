//! The KeyPackage as RFC 9420 spells it: OpenMLS's `KeyPackageIn` shows little of itself
//! before its signatures are verified.

use super::{Rejection, RejectionReason};
use tls_codec::{TlsDeserialize, TlsSerialize, TlsSize, VLBytes};

/// The protocol version mls10 (RFC 9420, section 6).
pub(super) const MLS10: u16 = 1;
/// The wire format mls_key_package of an MLSMessage (RFC 9420, section 17.2).
pub(super) const MLS_KEY_PACKAGE: u16 = 5;
/// The credential type basic (RFC 9420, section 17.5).
pub(super) const BASIC: u16 = 1;

/// KeyPackage (RFC 9420, section 10).
#[derive(Debug, Clone, TlsDeserialize, TlsSerialize, TlsSize)]
pub(super) struct KeyPackage {
    pub(super) version: u16,
    pub(super) cipher_suite: u16,
    pub(super) init_key: VLBytes,
    pub(super) leaf_node: LeafNode,
    pub(super) extensions: Vec<Extension>,
    pub(super) signature: VLBytes,
}

/// LeafNode (RFC 9420, section 7.2).
#[derive(Debug, Clone, TlsDeserialize, TlsSerialize, TlsSize)]
pub(super) struct LeafNode {
    pub(super) encryption_key: VLBytes,
    pub(super) signature_key: VLBytes,
    pub(super) credential: Credential,
    pub(super) capabilities: Capabilities,
    pub(super) source: LeafNodeSource,
    pub(super) extensions: Vec<Extension>,
    pub(super) signature: VLBytes,
}

/// Credential (RFC 9420, section 5.3): each of the known types holds one vector.
#[derive(Debug, Clone, TlsDeserialize, TlsSerialize, TlsSize)]
pub(super) struct Credential {
    pub(super) credential_type: u16,
    pub(super) content: VLBytes,
}

/// Capabilities (RFC 9420, section 7.2).
#[derive(Debug, Clone, TlsDeserialize, TlsSerialize, TlsSize)]
pub(super) struct Capabilities {
    pub(super) versions: Vec<u16>,
    pub(super) cipher_suites: Vec<u16>,
    pub(super) extensions: Vec<u16>,
    pub(super) proposals: Vec<u16>,
    pub(super) credentials: Vec<u16>,
}

/// LeafNodeSource and what depends on it (RFC 9420, section 7.2).
#[derive(Debug, Clone, TlsDeserialize, TlsSerialize, TlsSize)]
#[repr(u8)]
pub(super) enum LeafNodeSource {
    #[tls_codec(discriminant = 1)]
    KeyPackage(Lifetime),
    Update,
    Commit(VLBytes),
}

/// Lifetime in seconds since 1970 (RFC 9420, section 7.2).
#[derive(Debug, Clone, Copy, TlsDeserialize, TlsSerialize, TlsSize)]
pub(super) struct Lifetime {
    pub(super) not_before: u64,
    pub(super) not_after: u64,
}

/// Extension (RFC 9420, section 13).
#[derive(Debug, Clone, TlsDeserialize, TlsSerialize, TlsSize)]
pub(super) struct Extension {
    pub(super) extension_type: u16,
    pub(super) data: VLBytes,
}

impl KeyPackage {
    /// The lifetime, which only a leaf that was made for a KeyPackage has.
    pub(super) fn lifetime(&self) -> Result<Lifetime, Rejection> {
        match self.leaf_node.source {
            LeafNodeSource::KeyPackage(lifetime) => Ok(lifetime),
            LeafNodeSource::Update | LeafNodeSource::Commit(_) => {
                Err(RejectionReason::InvalidLeafNodeSource.into())
            }
        }
    }
}
