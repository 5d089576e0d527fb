//! The steps of an invite, and of its recovery.

use std::ops::Deref;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use keypool_proto::v1::KeyPackageName;
use openmls::prelude::MlsGroup;
use openmls::storage::OpenMlsProvider;
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::signatures::Signer;
use tokio::time::sleep;

use super::journal::Journal;
use super::reserve::{Verified, release};
use super::{
    Invite, InviteError, InviteRecord, InviteStage, Invited, Inviter, PackageFault, PublishError,
    Recovered, RejectedPackage,
};
use crate::Reservation;
use crate::mls::CredentialVerifier;

/// How long to wait before publishing again: at first, and at most.
const PUBLISH_DELAYS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(30)];

/// One invite, or its recovery, in one group.
pub(super) struct Flow<'a, V, P, S> {
    pub(super) inviter: &'a Inviter<V>,
    pub(super) group: &'a mut MlsGroup,
    /// Never borrowed while a call is under way, so that it need not be `Sync`.
    pub(super) provider: P,
    pub(super) signer: &'a S,
}

/// An invite whose packages are spent.
struct Spent {
    record: InviteRecord,
    invite: Invite,
}

impl<V, P, S> Flow<'_, V, P, S>
where
    V: CredentialVerifier,
    P: Deref<Target: OpenMlsProvider<StorageError: Send + Sync + 'static> + Sized>,
    S: Signer,
{
    pub(super) async fn begin<F>(
        mut self,
        record: InviteRecord,
        publish: impl FnMut(Invite) -> F,
    ) -> Result<Invited, InviteError>
    where
        F: Future<Output = Result<(), PublishError>>,
    {
        match self.journal().load(self.group)? {
            Some(_) => Err(InviteError::Unfinished),
            None => self.run(record, publish).await,
        }
    }

    pub(super) async fn recover<F>(
        mut self,
        publish: impl FnMut(Invite) -> F,
    ) -> Result<Recovered, InviteError>
    where
        F: Future<Output = Result<(), PublishError>>,
    {
        let Some(record) = self.journal().load(self.group)? else {
            return Ok(Recovered::Nothing);
        };
        match record.stage.clone() {
            InviteStage::Reserving { spent: false, held } => {
                self.undo(&record, held).await?;
                Ok(Recovered::Undone)
            }
            InviteStage::Spending(invite) if self.is_pending(&invite) => {
                let reservation = self.reservation_of(&record);
                match self.spend(record, reservation, invite).await {
                    Ok(spent) => self.finish(spent, publish).await,
                    // Lost meanwhile, and nothing of it was spent.
                    Err(InviteError::Spend { .. })
                        if self.journal().load(self.group)?.is_none() =>
                    {
                        Ok(Recovered::Undone)
                    }
                    Err(error) => Err(error),
                }
            }
            InviteStage::Publishing(invite) if self.is_pending(&invite) => {
                self.finish(Spent { record, invite }, publish).await
            }
            InviteStage::Published(invite) => {
                if self.is_pending(&invite) {
                    self.merge()?;
                }
                self.journal().forget(&record);
                Ok(Recovered::Finished { added: invite.added })
            }
            // The commit is gone, and its packages are spent for this reservation, or may be.
            _ => self.invite_again(record, publish).await,
        }
    }

    /// Clears a commit that nobody has seen, and gives back what was held for it.
    async fn undo(
        &mut self,
        record: &InviteRecord,
        held: Vec<KeyPackageName>,
    ) -> Result<(), InviteError> {
        if record.epoch == self.group.epoch().as_u64() {
            self.clear()?;
        }
        if let Err(error) = self.reservation_of(record).release_packages(held).await {
            tracing::debug!(%error, "a reservation was not released; it will lapse");
        }
        self.journal().forget(record);
        Ok(())
    }

    /// Invites with a new commit and the same reservation, which has what it spent before.
    async fn invite_again<F>(
        &mut self,
        mut record: InviteRecord,
        publish: impl FnMut(Invite) -> F,
    ) -> Result<Recovered, InviteError>
    where
        F: Future<Output = Result<(), PublishError>>,
    {
        let epoch = self.group.epoch().as_u64();
        if record.epoch == epoch {
            self.clear()?;
        }
        record.epoch = epoch;
        record.stage = InviteStage::Reserving { held: Vec::new(), spent: true };
        match self.run(record, publish).await {
            Ok(invited) => Ok(Recovered::Finished { added: invited.added }),
            Err(InviteError::Incomplete { unusable, .. }) if are_members(&unusable) => {
                let added = unusable.into_iter().map(|rejected| rejected.name).collect();
                Ok(Recovered::Finished { added })
            }
            Err(error) => Err(error),
        }
    }

    async fn run<F>(
        &mut self,
        mut record: InviteRecord,
        publish: impl FnMut(Invite) -> F,
    ) -> Result<Invited, InviteError>
    where
        F: Future<Output = Result<(), PublishError>>,
    {
        if self.group.pending_commit().is_some() || !self.group.is_active() {
            return Err(InviteError::GroupNotReady);
        }
        self.journal().save(&record)?;
        let crypto = self.provider.crypto();
        let reserved = self.inviter.reserve_verified(self.group, crypto, &mut record).await;
        let Verified { reservation, alive, packages, missing, unusable } =
            reserved.map_err(|error| self.give_up(&record, error))?;

        let invite = match Invite::commit(self.group, &*self.provider, self.signer, packages) {
            Ok(invite) => invite,
            Err(error) => {
                release(reservation).await;
                return Err(self.give_up(&record, InviteError::Commit(error)));
            }
        };
        record.stage = InviteStage::Spending(invite.clone());
        if let Err(error) = self.journal().save(&record) {
            self.clear()?;
            release(reservation).await;
            return Err(error);
        }

        let spent = self.spend(record, reservation, invite).await?;
        drop(alive);
        let added = spent.invite.added.clone();
        self.finish(spent, publish).await?;
        Ok(Invited { added, missing, unusable })
    }

    /// Spends the packages of the pending commit. If that fails, the commit is cleared.
    async fn spend(
        &mut self,
        mut record: InviteRecord,
        mut reservation: Reservation,
        invite: Invite,
    ) -> Result<Spent, InviteError> {
        let Err(source) = reservation.spend_packages(&invite.added).await else {
            record.stage = InviteStage::Publishing(invite.clone());
            self.journal().note(&record);
            return Ok(Spent { record, invite });
        };
        self.clear()?;
        if reservation.may_have_spent() {
            record.stage = InviteStage::Reserving { held: Vec::new(), spent: true };
            self.journal().note(&record);
        } else {
            self.journal().forget(&record);
        }
        release(reservation).await;
        Err(InviteError::Spend { source })
    }

    /// Publishes the commit whose packages are spent, and merges it.
    async fn finish<F>(
        &mut self,
        spent: Spent,
        publish: impl FnMut(Invite) -> F,
    ) -> Result<Recovered, InviteError>
    where
        F: Future<Output = Result<(), PublishError>>,
    {
        let Spent { mut record, invite } = spent;
        match publish_until_clear(publish, &invite).await {
            Ok(()) => {}
            Err(PublishError::Refused(source)) => {
                self.clear()?;
                record.stage = InviteStage::Reserving { held: Vec::new(), spent: true };
                self.journal().note(&record);
                return Err(InviteError::Refused(source));
            }
            Err(PublishError::Retry(source) | PublishError::Later(source)) => {
                return Err(InviteError::Publish { invite: Box::new(invite), source });
            }
        }
        record.stage = InviteStage::Published(invite.clone());
        self.journal().note(&record);
        self.merge()?;
        self.journal().forget(&record);
        Ok(Recovered::Finished { added: invite.added })
    }

    fn journal(&self) -> &Journal {
        &self.inviter.journal
    }

    fn is_pending(&self, invite: &Invite) -> bool {
        invite.is_pending_in(self.group, &*self.provider)
    }

    fn clear(&mut self) -> Result<(), InviteError> {
        let cleared = self.group.clear_pending_commit(self.provider.storage());
        cleared.map_err(|error| InviteError::Clear(error.into()))
    }

    fn merge(&mut self) -> Result<(), InviteError> {
        let merged = self.group.merge_pending_commit(&*self.provider);
        merged.map_err(|error| InviteError::Merge(error.into()))
    }

    /// There is no commit. What is spent can be used by another one, unless there is nobody left to
    /// add.
    fn give_up(&self, record: &InviteRecord, error: InviteError) -> InviteError {
        let spent = matches!(record.stage, InviteStage::Reserving { spent: true, .. });
        if !spent || matches!(error, InviteError::Incomplete { .. }) {
            self.journal().forget(record);
        }
        error
    }

    /// The reservation of a record, as far as it can be spent and released by names.
    fn reservation_of(&self, record: &InviteRecord) -> Reservation {
        Reservation::named(self.inviter.client.clone(), record.request.clone())
    }
}

async fn publish_until_clear<F>(
    mut publish: impl FnMut(Invite) -> F,
    invite: &Invite,
) -> Result<(), PublishError>
where
    F: Future<Output = Result<(), PublishError>>,
{
    let [first, longest] = PUBLISH_DELAYS;
    let delays = ExponentialBuilder::new().with_min_delay(first).with_max_delay(longest);
    let mut delays = delays.with_jitter().without_max_times().build();
    loop {
        match publish(invite.clone()).await {
            Err(PublishError::Retry(error)) => {
                let delay = delays.next().unwrap_or(longest);
                tracing::debug!(%error, ?delay, "not published, publishing again");
                sleep(delay).await;
            }
            settled => return settled,
        }
    }
}

/// Whether all of them are in the group already.
fn are_members(unusable: &[RejectedPackage]) -> bool {
    let is_member = |rejected: &RejectedPackage| rejected.fault == PackageFault::AlreadyMember;
    !unusable.is_empty() && unusable.iter().all(is_member)
}
