//! Generating and uploading packages.

use std::ops::Deref;
use std::time::{Duration, UNIX_EPOCH};

use keypool_proto::v1::RejectionReason;
use openmls::prelude::{Ciphersuite, KeyPackageBundle, Lifetime};
use openmls::storage::OpenMlsProvider;
use openmls_traits::signatures::Signer;
use tls_codec::Serialize;

use super::super::BoxError;
use super::super::store::{PackageState, PoolRecord};
use super::generate::{Template, Wanted, default_capabilities, generate};
use super::refresh::Refresh;
use super::{RefreshError, RejectedUpload, is_for_want_of_room, keys};
use crate::{UploadOutcome, UploadedPackage, WrongAnswer, observe};

/// The service takes so many packages in one call.
const MAX_PACKAGES_PER_CALL: usize = 100;

/// A package that is recorded and has its private keys in the storage.
struct Parcel {
    key_package_ref: Vec<u8>,
    bytes: Vec<u8>,
    /// It has not been on its way to the service before.
    fresh: bool,
}

impl Parcel {
    fn new(
        key_package_ref: Vec<u8>,
        bundle: &KeyPackageBundle,
        fresh: bool,
    ) -> Result<Self, RefreshError> {
        let bytes = bundle.key_package().tls_serialize_detached();
        let bytes = bytes.map_err(|error| RefreshError::Generate(error.into()))?;
        Ok(Self { key_package_ref, bytes, fresh })
    }
}

impl<P, S> Refresh<'_, P, S>
where
    P: Deref<Target: OpenMlsProvider<StorageError: Send + Sync + 'static> + Sized>,
    S: Deref<Target: Signer + Sized>,
{
    /// Uploads packages of which it is not known whether the service has them.
    pub(super) async fn upload_unconfirmed(&mut self) -> Result<(), RefreshError> {
        let unconfirmed = self.books.refs(|record| {
            record.state == PackageState::Created
                && record.rejection.is_none()
                && self.is_current(record)
                && !self.has_expired(record)
        });
        self.upload_stored(&unconfirmed).await
    }

    /// Packages that didn't fit into the pool before: not more than these, nor any that will be of
    /// use for a short time only.
    pub(super) fn spares(&self, ciphersuite: Ciphersuite, at_most: usize) -> Vec<Vec<u8>> {
        let long = self.keeper.settings.lifetime / 2;
        let mut spares = self.books.refs(|record| {
            record.state == PackageState::Created
                && record.rejection.is_some_and(is_for_want_of_room)
                && record.cipher_suite == u16::from(ciphersuite)
                && self.is_current(record)
                && self.books.has_key(record)
                && record.not_after.duration_since(self.now).is_ok_and(|left| left >= long)
        });
        spares.truncate(at_most);
        spares
    }

    pub(super) async fn upload_spares(&mut self, spares: &[Vec<u8>]) -> Result<(), RefreshError> {
        for key_package_ref in spares {
            // Until there is an answer, the service may have it.
            self.books.change(key_package_ref, |record, _| record.rejection = None);
        }
        self.books.save()?;
        self.upload_stored(spares).await
    }

    async fn upload_stored(&mut self, key_package_refs: &[Vec<u8>]) -> Result<(), RefreshError> {
        for chunk in key_package_refs.chunks(MAX_PACKAGES_PER_CALL) {
            let mut parcels = Vec::new();
            for key_package_ref in chunk {
                let bundle = keys::load(&**self.provider, key_package_ref);
                // Never a package whose private keys are gone.
                if let Some(bundle) = bundle.map_err(RefreshError::Storage)? {
                    parcels.push(Parcel::new(key_package_ref.clone(), &bundle, false)?);
                }
            }
            self.upload(parcels).await?;
        }
        Ok(())
    }

    pub(super) async fn generate_and_upload(
        &mut self,
        wanted: &[Wanted],
    ) -> Result<(), RefreshError> {
        for chunk in wanted.chunks(MAX_PACKAGES_PER_CALL) {
            let parcels = self.generate(chunk)?;
            self.upload(parcels).await?;
        }
        Ok(())
    }

    /// Records the packages before it stores their private keys, so that there are none of which
    /// nobody knows.
    fn generate(&mut self, wanted: &[Wanted]) -> Result<Vec<Parcel>, RefreshError> {
        let provider = &**self.provider;
        let template = self.template().map_err(RefreshError::Generate)?;
        let (not_after, mut generated) = (template.lifetime.not_after(), Vec::new());
        for one in wanted {
            let package = generate(provider, &template, *one).map_err(RefreshError::Generate)?;
            generated.push((one, package));
        }
        let not_after = UNIX_EPOCH
            .checked_add(Duration::from_secs(not_after))
            .ok_or_else(|| RefreshError::Generate("the lifetime never ends".into()))?;
        for (wanted, package) in &generated {
            self.books.insert(PoolRecord::new(
                package.key_package_ref.clone(),
                wanted.ciphersuite.into(),
                wanted.last_resort,
                self.credential_hash.clone(),
                self.now,
                not_after,
            ));
        }
        self.books.save()?;
        let mut parcels = Vec::new();
        for (_, package) in generated {
            let written = keys::write(provider, &package.key_package_ref, &package.bundle);
            written.map_err(RefreshError::Storage)?;
            self.books.key_written(&package.key_package_ref);
            parcels.push(Parcel::new(package.key_package_ref, &package.bundle, true)?);
        }
        Ok(parcels)
    }

    fn template(&self) -> Result<Template<'_, S::Target>, BoxError> {
        let settings = &self.keeper.settings;
        let credential = &self.identity.credential;
        let capabilities = settings.capabilities.clone();
        let capabilities =
            capabilities.unwrap_or_else(|| default_capabilities(&**self.provider, credential));
        let now = self.now.duration_since(UNIX_EPOCH)?.as_secs();
        let not_before = now.saturating_sub(settings.clock_margin.as_secs());
        let not_after = now.saturating_add(settings.lifetime.as_secs());
        let lifetime = Lifetime::init(not_before, not_after);
        Ok(Template { credential, signer: self.identity.signer(), capabilities, lifetime })
    }

    async fn upload(&mut self, parcels: Vec<Parcel>) -> Result<(), RefreshError> {
        if parcels.is_empty() {
            return Ok(());
        }
        let settings = &self.keeper.settings;
        let bytes = parcels.iter().map(|parcel| parcel.bytes.clone()).collect();
        let uploaded =
            self.keeper.client.upload(&settings.user_id, &settings.device_id, bytes).await;
        let uploaded = uploaded.map_err(RefreshError::Upload)?;
        let mut answered = parcels.iter().zip(&uploaded.results);
        if !answered.all(|(parcel, result)| is_about(parcel, result)) {
            return Err(RefreshError::Upload(WrongAnswer::Results.into()));
        }
        self.report.status = Some(uploaded.pool_status);
        self.measure_clock(uploaded.service_time);
        let mut useless = Vec::new();
        for (parcel, result) in parcels.into_iter().zip(uploaded.results) {
            self.note(&parcel.key_package_ref, result.outcome);
            if parcel.fresh && self.is_rejected_for_good(&parcel.key_package_ref) {
                useless.push(parcel.key_package_ref);
            }
        }
        self.books.save()?;
        self.delete_keys(&useless)
    }

    /// Notes what became of an uploaded package.
    fn note(&mut self, key_package_ref: &[u8], outcome: UploadOutcome) {
        let state = match outcome {
            UploadOutcome::Accepted => {
                self.supersede(key_package_ref);
                self.report.uploaded.push(key_package_ref.to_vec());
                PackageState::Uploaded
            }
            UploadOutcome::AlreadyPresent => {
                self.report.uploaded.push(key_package_ref.to_vec());
                PackageState::Uploaded
            }
            UploadOutcome::Rejected { reason, message } => {
                tracing::debug!(?reason, message, "the service rejected a KeyPackage");
                observe::rejected(reason.as_reason().to_lowercase());
                let key_package_ref = key_package_ref.to_vec();
                self.books.change(&key_package_ref, |record, _| record.rejection = Some(reason));
                self.report.rejected.push(RejectedUpload { key_package_ref, reason, message });
                state_after(reason)
            }
        };
        self.books.set_state(key_package_ref, state);
    }

    /// A last-resort package takes the place of those before it.
    fn supersede(&mut self, key_package_ref: &[u8]) {
        let Some(newest) = self.books.get(key_package_ref) else { return };
        let (last_resort, cipher_suite) = (newest.last_resort, newest.cipher_suite);
        let replaced = self.books.refs(|record| {
            last_resort
                && record.last_resort
                && record.state.is_pooled()
                && record.cipher_suite == cipher_suite
                && record.key_package_ref != key_package_ref
        });
        for key_package_ref in replaced {
            self.books.set_state(&key_package_ref, PackageState::Revoked);
        }
    }

    /// Whether no pool has the package, and none ever will.
    fn is_rejected_for_good(&self, key_package_ref: &[u8]) -> bool {
        let Some(record) = self.books.get(key_package_ref) else { return false };
        let is_doubtful = matches!(
            record.rejection,
            None | Some(RejectionReason::Unspecified | RejectionReason::BelongsToOtherDevice)
        );
        record.state == PackageState::Failed && !is_doubtful
    }
}

/// Whether the result is that of the package. A package that the service could not read has no ref.
fn is_about(parcel: &Parcel, result: &UploadedPackage) -> bool {
    let is_unread = matches!(result.outcome, UploadOutcome::Rejected { .. })
        && result.key_package_ref.is_empty();
    is_unread || result.key_package_ref == parcel.key_package_ref
}

fn state_after(rejection: RejectionReason) -> PackageState {
    match rejection {
        reason if is_for_want_of_room(reason) => PackageState::Created,
        RejectionReason::AlreadySpent => PackageState::Spent,
        RejectionReason::Revoked => PackageState::Revoked,
        _ => PackageState::Failed,
    }
}
