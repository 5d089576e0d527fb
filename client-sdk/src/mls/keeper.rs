//! Keeps a device's pool filled.

use std::ops::Deref;
use std::time::Duration;

use keypool_proto::v1::{CipherSuitePool, DevicePoolStatus, RejectionReason};
use openmls::prelude::{
    Capabilities, Ciphersuite, CredentialWithKey, ExtensionType, KeyPackage, KeyPackageRef,
    Lifetime,
};
use openmls::storage::OpenMlsProvider;
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::signatures::Signer;
use openmls_traits::storage::StorageProvider;
use tls_codec::Serialize;

use super::BoxError;
use crate::{Client, Error, UploadOutcome};

/// The service takes so many packages in one call.
const MAX_PACKAGES_PER_CALL: usize = 100;

/// More than any pool holds, whatever the service recommends.
const MAX_UPLOAD_COUNT: u32 = 1000;

/// The target of a pool that the service doesn't know yet.
const FIRST_UPLOAD_COUNT: u32 = 32;

const LIFETIME: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Keeps one device's pool filled with KeyPackages that it generates by OpenMLS.
///
/// The private keys are in the OpenMLS storage provider, and nowhere else. Provider and signer may be
/// anything that points to one: a reference, an `Arc` or a `Box`.
///
/// See the [crate's documentation](crate#keeping-a-pool-filled) for an example.
#[derive(Debug, Clone)]
pub struct PoolKeeper<P, S> {
    client: Client,
    provider: P,
    user_id: String,
    device_id: String,
    credential: CredentialWithKey,
    signer: S,
    ciphersuites: Vec<Ciphersuite>,
    capabilities: Capabilities,
    lifetime: Duration,
}

impl<P, S> PoolKeeper<P, S>
where
    P: Deref<Target: OpenMlsProvider<StorageError: Send + Sync + 'static> + Sized>,
    S: Deref<Target: Signer + Sized>,
{
    /// A keeper of the pool of this device, for these cipher suites, whose signature scheme must be
    /// the signer's.
    pub fn new(
        client: Client,
        provider: P,
        user_id: impl Into<String>,
        device_id: impl Into<String>,
        credential: CredentialWithKey,
        signer: S,
        ciphersuites: impl IntoIterator<Item = Ciphersuite>,
    ) -> Self {
        let capabilities = default_capabilities(&*provider, &credential);
        Self {
            client,
            provider,
            user_id: user_id.into(),
            device_id: device_id.into(),
            credential,
            signer,
            ciphersuites: ciphersuites.into_iter().collect(),
            capabilities,
            lifetime: LIFETIME,
        }
    }

    /// What the application supports, for packages generated from now on. Unless set, that is what
    /// the provider and OpenMLS support by themselves. Must list
    /// [`ExtensionType::LastResort`], the cipher suites, and the type of the credential.
    #[must_use]
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// How long packages generated from now on stay valid. 14 days unless set; the service accepts
    /// 90 days at most (RFC 9420, section 7.2).
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Brings the pool to its target: generates and uploads as many packages as the service
    /// recommends, and a new last-resort package where there is none or it was used.
    ///
    /// Call it at start, each hour or so, and when the pool runs low. The private keys of packages
    /// that the service rejects are deleted at once.
    ///
    /// # Errors
    ///
    /// [`RefreshError`]. It is safe to call again after any of them.
    pub async fn refresh(&self) -> Result<Refreshed, RefreshError> {
        let status = self.status().await.map_err(RefreshError::Status)?;
        let plan = self.plan(status.as_ref());
        let mut report = Refreshed { uploaded: Vec::new(), rejected: Vec::new(), status };
        for wanted in plan.chunks(MAX_PACKAGES_PER_CALL) {
            let packages: Result<Vec<_>, _> = wanted.iter().map(|w| self.generate(w)).collect();
            let packages = packages.map_err(RefreshError::Generate)?;
            self.upload(&packages, &mut report).await?;
        }
        Ok(report)
    }

    /// `None` for a device that never uploaded anything.
    async fn status(&self) -> Result<Option<DevicePoolStatus>, Error> {
        match self.client.pool_status(&self.user_id, &self.device_id).await {
            Ok(status) => Ok(Some(status)),
            Err(Error::UnknownUser(_) | Error::UnknownDevice(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn plan(&self, status: Option<&DevicePoolStatus>) -> Vec<Wanted> {
        let pools = status.map_or(&[][..], |status| &status.pools);
        let mut plan = Vec::new();
        for ciphersuite in self.ciphersuites.iter().copied() {
            let number = u32::from(u16::from(ciphersuite));
            let pool = pools.iter().find(|pool| pool.cipher_suite == number);
            let one_time = Wanted { ciphersuite, last_resort: false };
            plan.extend(std::iter::repeat_n(one_time, recommended_count(pool)));
            if wants_last_resort(pool) {
                plan.push(Wanted { ciphersuite, last_resort: true });
            }
        }
        plan
    }

    /// Building a package stores its private keys.
    fn generate(&self, wanted: &Wanted) -> Result<Generated, BoxError> {
        let builder = KeyPackage::builder()
            .key_package_lifetime(Lifetime::new(self.lifetime.as_secs()))
            .leaf_node_capabilities(self.capabilities.clone());
        let builder = if wanted.last_resort { builder.mark_as_last_resort() } else { builder };
        let provider = &*self.provider;
        let credential = self.credential.clone();
        let bundle = builder.build(wanted.ciphersuite, provider, &*self.signer, credential)?;
        let key_package = bundle.key_package();
        Ok(Generated {
            hash_ref: key_package.hash_ref(provider.crypto())?,
            bytes: key_package.tls_serialize_detached()?,
        })
    }

    async fn upload(
        &self,
        packages: &[Generated],
        report: &mut Refreshed,
    ) -> Result<(), RefreshError> {
        let bytes = packages.iter().map(|package| package.bytes.clone()).collect();
        let uploaded = self.client.upload(&self.user_id, &self.device_id, bytes).await;
        let refs = || packages.iter().map(|package| package.hash_ref.as_slice().to_vec());
        let uploaded = uploaded
            .map_err(|source| RefreshError::Upload { source, unconfirmed: refs().collect() })?;
        report.status = Some(uploaded.pool_status);
        for (package, result) in packages.iter().zip(uploaded.results) {
            let key_package_ref = package.hash_ref.as_slice().to_vec();
            match result.outcome {
                UploadOutcome::Accepted | UploadOutcome::AlreadyPresent => {
                    report.uploaded.push(key_package_ref);
                }
                UploadOutcome::Rejected { reason, message } => {
                    report.rejected.push(RejectedUpload { key_package_ref, reason, message });
                    self.forget(package, reason)?;
                }
            }
        }
        Ok(())
    }

    /// A spent package's private key is needed for the Welcome that is still to come.
    fn forget(&self, package: &Generated, reason: RejectionReason) -> Result<(), RefreshError> {
        if reason == RejectionReason::AlreadySpent {
            return Ok(());
        }
        let deleted = self.provider.storage().delete_key_package(&package.hash_ref);
        deleted.map_err(|error| RefreshError::Delete(error.into()))
    }
}

/// OpenMLS' own capabilities do not list last resort, and a package marked so would be invalid.
fn default_capabilities(
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

fn recommended_count(pool: Option<&CipherSuitePool>) -> usize {
    let count = pool.map_or(FIRST_UPLOAD_COUNT, |pool| pool.recommended_upload_count);
    count.min(MAX_UPLOAD_COUNT) as usize
}

/// A used last-resort package is one that several groups may share keys with.
fn wants_last_resort(pool: Option<&CipherSuitePool>) -> bool {
    let last_resort = pool.and_then(|pool| pool.last_resort.as_ref());
    last_resort.is_none_or(|last_resort| last_resort.use_count > 0)
}

#[derive(Clone)]
struct Wanted {
    ciphersuite: Ciphersuite,
    last_resort: bool,
}

struct Generated {
    hash_ref: KeyPackageRef,
    bytes: Vec<u8>,
}

/// What a refresh did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Refreshed {
    /// The KeyPackageRefs of the packages that are in the pool now, last resort included.
    pub uploaded: Vec<Vec<u8>>,
    /// The packages that the service rejected.
    pub rejected: Vec<RejectedUpload>,
    /// The pool after the refresh. `None` if it is unknown and there was nothing to upload.
    pub status: Option<DevicePoolStatus>,
}

/// A package that the service rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedUpload {
    /// Its KeyPackageRef.
    pub key_package_ref: Vec<u8>,
    /// Why. [`RejectionReason::Unspecified`] if this version doesn't know the reason.
    pub reason: RejectionReason,
    /// The reason in words, for a log or a developer.
    pub message: String,
}

/// Why a refresh failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The pool's status can't be had. Nothing was done.
    #[error("the pool's status can't be had: {0}")]
    Status(#[source] Error),

    /// OpenMLS can't generate a package: the signer's scheme is not that of the cipher suite, the
    /// provider lacks the cipher suite, or the storage failed.
    #[error("a package can't be generated")]
    Generate(#[source] BoxError),

    /// An upload failed. The private keys of its packages are kept, because the service may have
    /// them.
    #[error("the upload failed: {source}")]
    Upload {
        /// Why.
        source: Error,
        /// The KeyPackageRefs of the packages that may be in the pool, or not.
        unconfirmed: Vec<Vec<u8>>,
    },

    /// The private keys of a rejected package can't be deleted.
    #[error("the private keys of a rejected package can't be deleted")]
    Delete(#[source] BoxError),
}
