//! The KeyPackage as RFC 9420 spells it: OpenMLS's `KeyPackageIn` shows little of itself
//! before its signatures are verified.

use super::{Rejection, RejectionReason};
use tls_codec::{Serialize, TlsDeserialize, TlsSerialize, TlsSize, VLBytes};

/// The protocol version mls10 (RFC 9420, section 6).
pub(crate) const MLS10: u16 = 1;
/// The wire format mls_key_package of an MLSMessage (RFC 9420, section 17.2).
pub(crate) const MLS_KEY_PACKAGE: u16 = 5;
/// The credential type basic (RFC 9420, section 17.5).
pub(crate) const BASIC: u16 = 1;

/// The extension type last_resort (RFC 9420, section 17.3).
pub(crate) const LAST_RESORT: u16 = 10;

/// KeyPackage (RFC 9420, section 10).
#[derive(Debug, Clone, TlsDeserialize, TlsSerialize, TlsSize)]
pub(crate) struct KeyPackage {
    pub(crate) version: u16,
    pub(crate) cipher_suite: u16,
    pub(crate) init_key: VLBytes,
    pub(crate) leaf_node: LeafNode,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) signature: VLBytes,
}

/// LeafNode (RFC 9420, section 7.2).
#[derive(Debug, Clone, TlsDeserialize, TlsSerialize, TlsSize)]
pub(crate) struct LeafNode {
    pub(crate) encryption_key: VLBytes,
    pub(crate) signature_key: VLBytes,
    pub(crate) credential: Credential,
    pub(crate) capabilities: Capabilities,
    pub(crate) source: LeafNodeSource,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) signature: VLBytes,
}

/// Credential (RFC 9420, section 5.3): each of the known types holds one vector.
#[derive(Debug, Clone, TlsDeserialize, TlsSerialize, TlsSize)]
pub(crate) struct Credential {
    pub(crate) credential_type: u16,
    pub(crate) content: VLBytes,
}

/// Capabilities (RFC 9420, section 7.2).
#[derive(Debug, Clone, TlsDeserialize, TlsSerialize, TlsSize)]
pub(crate) struct Capabilities {
    pub(crate) versions: Vec<u16>,
    pub(crate) cipher_suites: Vec<u16>,
    pub(crate) extensions: Vec<u16>,
    pub(crate) proposals: Vec<u16>,
    pub(crate) credentials: Vec<u16>,
}

/// LeafNodeSource and what depends on it (RFC 9420, section 7.2).
#[derive(Debug, Clone, TlsDeserialize, TlsSerialize, TlsSize)]
#[repr(u8)]
pub(crate) enum LeafNodeSource {
    #[tls_codec(discriminant = 1)]
    KeyPackage(Lifetime),
    Update,
    Commit(VLBytes),
}

/// Lifetime in seconds since 1970 (RFC 9420, section 7.2).
#[derive(Debug, Clone, Copy, TlsDeserialize, TlsSerialize, TlsSize)]
pub(crate) struct Lifetime {
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
}

/// Extension (RFC 9420, section 13).
#[derive(Debug, Clone, TlsDeserialize, TlsSerialize, TlsSize)]
pub(crate) struct Extension {
    pub(crate) extension_type: u16,
    pub(crate) data: VLBytes,
}

impl Credential {
    /// TLS-encoded, as in the package.
    pub(crate) fn encoded(&self) -> Result<Vec<u8>, Rejection> {
        self.tls_serialize_detached().map_err(|_| RejectionReason::Malformed.into())
    }
}

impl KeyPackage {
    /// Whether it has the last_resort extension (RFC 9420, section 16.8).
    pub(crate) fn is_last_resort(&self) -> bool {
        self.extensions.iter().any(|extension| extension.extension_type == LAST_RESORT)
    }

    /// The lifetime, which only a leaf that was made for a KeyPackage has.
    pub(crate) fn lifetime(&self) -> Result<Lifetime, Rejection> {
        match self.leaf_node.source {
            LeafNodeSource::KeyPackage(lifetime) => Ok(lifetime),
            LeafNodeSource::Update | LeafNodeSource::Commit(_) => {
                Err(RejectionReason::InvalidLeafNodeSource.into())
            }
        }
    }
}
