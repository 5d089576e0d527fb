//! The private keys, in the storage of OpenMLS.

use openmls::prelude::{KeyPackageBundle, KeyPackageRef};
use openmls::storage::OpenMlsProvider;
use openmls_traits::storage::StorageProvider;
use tls_codec::{DeserializeBytes, Serialize, VLBytes};

use super::super::BoxError;

/// The package with its private keys. `None` if they are gone.
pub(super) fn load<P>(
    provider: &P,
    key_package_ref: &[u8],
) -> Result<Option<KeyPackageBundle>, BoxError>
where
    P: OpenMlsProvider<StorageError: Send + Sync + 'static>,
{
    Ok(provider.storage().key_package(&to_ref(key_package_ref)?)?)
}

pub(super) fn write<P>(
    provider: &P,
    key_package_ref: &[u8],
    bundle: &KeyPackageBundle,
) -> Result<(), BoxError>
where
    P: OpenMlsProvider<StorageError: Send + Sync + 'static>,
{
    Ok(provider.storage().write_key_package(&to_ref(key_package_ref)?, bundle)?)
}

pub(super) fn delete<P>(provider: &P, key_package_ref: &[u8]) -> Result<(), BoxError>
where
    P: OpenMlsProvider<StorageError: Send + Sync + 'static>,
{
    Ok(provider.storage().delete_key_package(&to_ref(key_package_ref)?)?)
}

/// OpenMLS has no other way from bytes to a ref than its encoding.
fn to_ref(key_package_ref: &[u8]) -> Result<KeyPackageRef, BoxError> {
    let encoded = VLBytes::from(key_package_ref).tls_serialize_detached()?;
    Ok(KeyPackageRef::tls_deserialize_exact_bytes(&encoded)?)
}
