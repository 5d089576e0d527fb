//! What packages are made under.

use std::ops::Deref;

use openmls::prelude::CredentialWithKey;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::types::HashType;
use tls_codec::Serialize;

use super::super::BoxError;
use openmls::prelude::{Credential, SignaturePublicKey};

/// A credential, and what signs for it.
pub(super) struct Identity<S> {
    pub(super) credential: CredentialWithKey,
    signer: S,
}

impl<S: Deref<Target: Sized>> Identity<S> {
    pub(super) fn new(credential: CredentialWithKey, signer: S) -> Self {
        Self { credential, signer }
    }

    pub(super) fn signer(&self) -> &S::Target {
        &self.signer
    }

    /// How records name it.
    pub(super) fn hash(&self, crypto: &impl OpenMlsCrypto) -> Result<Vec<u8>, BoxError> {
        hash(&self.credential.credential, &self.credential.signature_key, crypto)
    }
}

/// How records name a credential and its signature key.
pub(super) fn hash(
    credential: &Credential,
    signature_key: &SignaturePublicKey,
    crypto: &impl OpenMlsCrypto,
) -> Result<Vec<u8>, BoxError> {
    let mut bytes = credential.tls_serialize_detached()?;
    bytes.extend_from_slice(signature_key.as_slice());
    Ok(crypto.hash(HashType::Sha2_256, &bytes)?)
}
