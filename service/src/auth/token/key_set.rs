use super::TokenError;
use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;

/// The most keys of a set.
const MAX_KEYS: usize = 100;

/// Bits of an RSA modulus: fewer are too weak (RFC 7518, section 3.3), and more too slow.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// The length of an Ed25519 key (RFC 8032, section 5.1.5).
const ED25519_BYTES: usize = 32;

/// Why a document is not a set of keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidKeySet {
    /// Not JSON, or without `keys`. Says where, and nothing of what is there.
    #[error("not a JSON Web Key Set (RFC 7517): line {line}, column {column}")]
    NotASet {
        /// The line in question.
        line: usize,
        /// The column in question.
        column: usize,
    },
    /// More than [`MAX_KEYS`].
    #[error("a JSON Web Key Set of more than {MAX_KEYS} keys")]
    TooMany,
}

/// A public key, and the one algorithm that it is for. The token has no say in that.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// The keys of a JSON Web Key Set that can verify tokens.
#[derive(Debug)]
pub(super) struct KeySet {
    document: Vec<u8>,
    keys: Vec<Key>,
}

impl KeySet {
    /// Reads a set. Keys that are not for signatures by RS256, ES256 or EdDSA are left out, and so are weak ones.
    pub(super) fn read(document: Vec<u8>) -> Result<Self, InvalidKeySet> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        let set: Document = serde_json::from_slice(&document).map_err(|error| {
            InvalidKeySet::NotASet { line: error.line(), column: error.column() }
        })?;
        if set.keys.len() > MAX_KEYS {
            return Err(InvalidKeySet::TooMany);
        }
        let keys = set.keys.into_iter().filter_map(Key::read).collect();
        Ok(Self { document, keys })
    }

    /// Whether it was read from the same bytes.
    pub(super) fn is_of(&self, document: &[u8]) -> bool {
        self.document == document
    }

    /// How many keys can verify tokens.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key of that name. A token may leave the name out if there is only one key.
    pub(super) fn find(&self, id: Option<&str>) -> Result<&Key, TokenError> {
        match (id, &*self.keys) {
            (Some(id), keys) => {
                keys.iter().find(|key| key.id.as_deref() == Some(id)).ok_or(TokenError::UnknownKey)
            }
            (None, [key]) => Ok(key),
            (None, []) => Err(TokenError::UnknownKey),
            (None, _) => Err(TokenError::NoKeyId),
        }
    }
}

impl Key {
    fn read(key: serde_json::Value) -> Option<Self> {
        let key: Jwk = serde_json::from_value(key).ok()?;
        let algorithm = match &key.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            _ => return None,
        };
        let decoding = DecodingKey::from_jwk(&key).ok()?;
        let for_signatures =
            key.common.public_key_use.is_none_or(|is| is == PublicKeyUse::Signature)
                && key.common.key_operations.is_none_or(|may| may.contains(&KeyOperations::Verify))
                && key.common.key_algorithm.is_none_or(|is| is == KeyAlgorithm::from(algorithm));
        (for_signatures && is_usable(&decoding, algorithm)).then(|| Self {
            id: key.common.key_id,
            algorithm,
            decoding,
        })
    }
}

fn is_usable(key: &DecodingKey, algorithm: Algorithm) -> bool {
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => RSA_BITS.contains(&bits(n)),
        // The length comes first: the library panics at a shorter Ed25519 key.
        DecodingKeyKind::SecretOrDer(point) => {
            (algorithm != Algorithm::EdDSA || point.len() == ED25519_BYTES)
                // Any signature will do to see whether it is a point of the curve.
                && jsonwebtoken::crypto::verify("", b"", key, algorithm).is_ok()
        }
    }
}

/// The length of a big-endian number.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    let digits = &number[zeros..];
    digits.first().map_or(0, |first| digits.len() * 8 - first.leading_zeros() as usize)
}
