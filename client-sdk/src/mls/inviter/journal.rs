//! What an invite must not forget when its process ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use keypool_proto::v1::{KeyPackageName, ReserveKeyPackagesRequest};
use openmls::prelude::MlsGroup;
use serde::{Deserialize, Serialize};

use super::{Invite, InviteError};
use crate::mls::BoxError;
use crate::saved::message;

/// Keeps the invites under way, so that [`Inviter::recover`](super::Inviter::recover) can finish or
/// undo them after a crash: at most one for each group.
///
/// Keep it where the OpenMLS storage is, and as durable: what [`save`](Self::save) has returned from
/// must survive the process.
pub trait InviteJournal: Send + Sync {
    /// Keeps the record, in place of an earlier one of the same group.
    ///
    /// # Errors
    ///
    /// If it can't be kept. The invite then goes no further.
    fn save(&self, record: &InviteRecord) -> Result<(), BoxError>;

    /// The record of a group, if there is one.
    ///
    /// # Errors
    ///
    /// If that can't be told.
    fn load(&self, group_id: &[u8]) -> Result<Option<InviteRecord>, BoxError>;

    /// Forgets the record of a group. That there is none is no error.
    ///
    /// # Errors
    ///
    /// If it can't be forgotten.
    fn remove(&self, group_id: &[u8]) -> Result<(), BoxError>;
}

/// An invite under way. Serializable, for an [`InviteJournal`] to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InviteRecord {
    #[serde(with = "message")]
    pub(super) request: ReserveKeyPackagesRequest,
    /// The group's epoch that the commit is for.
    pub(super) epoch: u64,
    pub(super) stage: InviteStage,
}

impl InviteRecord {
    pub(super) fn new(request: ReserveKeyPackagesRequest, group: &MlsGroup) -> Self {
        let stage = InviteStage::Reserving { held: Vec::new(), spent: false };
        Self { request, epoch: group.epoch().as_u64(), stage }
    }

    /// The group.
    #[must_use]
    pub fn group_id(&self) -> &[u8] {
        &self.request.group_id
    }

    /// The reservation.
    #[must_use]
    pub fn reservation_id(&self) -> &str {
        &self.request.reservation_id
    }

    /// How far the invite has come.
    #[must_use]
    pub fn stage(&self) -> &InviteStage {
        &self.stage
    }
}

/// How far an invite has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum InviteStage {
    /// Packages are being reserved. There is no commit, or one that nobody has seen.
    Reserving {
        /// The packages that are held as far as is known.
        held: Vec<KeyPackageName>,
        /// Whether some may be spent already, for a commit that was refused. They can be used in
        /// another commit to the same group.
        spent: bool,
    },

    /// The commit is pending, and its packages may be spent or not.
    Spending(Invite),

    /// The packages are spent, and the commit may have been published or not.
    Publishing(Invite),

    /// The commit is published, and may have been merged or not.
    Published(Invite),
}

/// A journal that does not outlive the process: for tests, and for groups that don't either.
#[derive(Debug, Default)]
pub struct MemoryJournal(Mutex<HashMap<Vec<u8>, InviteRecord>>);

impl InviteJournal for MemoryJournal {
    fn save(&self, record: &InviteRecord) -> Result<(), BoxError> {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.insert(record.group_id().to_vec(), record.clone());
        Ok(())
    }

    fn load(&self, group_id: &[u8]) -> Result<Option<InviteRecord>, BoxError> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(records.get(group_id).cloned())
    }

    fn remove(&self, group_id: &[u8]) -> Result<(), BoxError> {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.remove(group_id);
        Ok(())
    }
}

/// The journal as the steps of an invite use it.
#[derive(Clone)]
pub(super) struct Journal(Arc<dyn InviteJournal>);

impl Journal {
    pub(super) fn new(journal: Arc<dyn InviteJournal>) -> Self {
        Self(journal)
    }

    pub(super) fn load(&self, group: &MlsGroup) -> Result<Option<InviteRecord>, InviteError> {
        self.0.load(group.group_id().as_slice()).map_err(InviteError::Journal)
    }

    pub(super) fn save(&self, record: &InviteRecord) -> Result<(), InviteError> {
        self.0.save(record).map_err(InviteError::Journal)
    }

    /// Saves what saves work in a recovery, and is not needed for it.
    pub(super) fn note(&self, record: &InviteRecord) {
        if let Err(error) = self.0.save(record) {
            tracing::warn!(%error, "the journal of invites can't be written");
        }
    }

    /// A record that stays is found to be finished by the next recovery.
    pub(super) fn forget(&self, record: &InviteRecord) {
        if let Err(error) = self.0.remove(record.group_id()) {
            tracing::warn!(%error, "the journal of invites can't be written");
        }
    }
}
