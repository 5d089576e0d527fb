//! Making packages.

use openmls::prelude::{
    Capabilities, Ciphersuite, CredentialWithKey, ExtensionType, KeyPackage, KeyPackageBundle,
    Lifetime,
};
use openmls_memory_storage::MemoryStorage;
use openmls_traits::OpenMlsProvider;
use openmls_traits::signatures::Signer;

use super::super::BoxError;

/// What to make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) ciphersuite: Ciphersuite,
    pub(super) last_resort: bool,
}

/// What all packages of a refresh have in common.
pub(super) struct Template<'a, S> {
    pub(super) credential: &'a CredentialWithKey,
    pub(super) signer: &'a S,
    pub(super) capabilities: Capabilities,
    pub(super) lifetime: Lifetime,
}

/// A package with its private keys, which no storage knows yet.
pub(super) struct Generated {
    pub(super) key_package_ref: Vec<u8>,
    pub(super) bundle: KeyPackageBundle,
}

/// Makes a package. OpenMLS stores its private keys at once: here in a storage that nobody keeps, so
/// that they can be recorded first.
pub(super) fn generate<P: OpenMlsProvider, S: Signer>(
    provider: &P,
    template: &Template<'_, S>,
    wanted: Wanted,
) -> Result<Generated, BoxError> {
    let builder = KeyPackage::builder()
        .key_package_lifetime(template.lifetime)
        .leaf_node_capabilities(template.capabilities.clone());
    let builder = if wanted.last_resort { builder.mark_as_last_resort() } else { builder };
    let scratch = Scratch { provider, storage: MemoryStorage::default() };
    let credential = template.credential.clone();
    let bundle = builder.build(wanted.ciphersuite, &scratch, template.signer, credential)?;
    let hash_ref = bundle.key_package().hash_ref(provider.crypto())?;
    Ok(Generated { key_package_ref: hash_ref.as_slice().to_vec(), bundle })
}

/// OpenMLS' own capabilities do not list last resort, and a package marked so would be invalid.
pub(super) fn default_capabilities(
    provider: &impl OpenMlsProvider,
    credential: &CredentialWithKey,
) -> Capabilities {
    let capabilities = Capabilities::for_provider(provider.crypto());
    let ciphersuites = capabilities.ciphersuites().iter().copied();
    let ciphersuites: Vec<_> = ciphersuites.filter_map(|suite| suite.try_into().ok()).collect();
    Capabilities::new(
        None,
        Some(&ciphersuites),
        Some(&[ExtensionType::LastResort]),
        None,
        Some(&[credential.credential.credential_type()]),
    )
}

/// The cryptography and randomness of another provider, and a storage of its own.
struct Scratch<'a, P> {
    provider: &'a P,
    storage: MemoryStorage,
}

impl<P: OpenMlsProvider> OpenMlsProvider for Scratch<'_, P> {
    type CryptoProvider = P::CryptoProvider;
    type RandProvider = P::RandProvider;
    type StorageProvider = MemoryStorage;

    fn storage(&self) -> &Self::StorageProvider {
        &self.storage
    }

    fn crypto(&self) -> &Self::CryptoProvider {
        self.provider.crypto()
    }

    fn rand(&self) -> &Self::RandProvider {
        self.provider.rand()
    }
}
