//! The whole invite: reserve, verify, commit, spend, publish, merge.

use std::time::Duration;

use keypool_proto::v1::KeyPackageName;
use openmls::messages::group_info::GroupInfo;
use openmls::prelude::{KeyPackage, MlsGroup, MlsMessageOut, OpenMlsCrypto};
use openmls::storage::OpenMlsProvider;
use openmls_traits::signatures::Signer;

use super::verify::{Needs, Verification};
use super::{BoxError, CredentialVerifier, InviteError, RejectedPackage};
use crate::{Client, Missing, Reservation, ReserveBuilder, Target};

/// The longest lifetime that the service accepts, unless configured otherwise.
const MAX_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Adds members to MLS groups with packages of the pool.
///
/// See the [crate's documentation](crate#inviting) for an example.
#[derive(Debug, Clone)]
pub struct Inviter<V> {
    client: Client,
    verifier: V,
    own_device: Option<(String, String)>,
    ttl: Option<Duration>,
    min_remaining_lifetime: Option<Duration>,
    max_lifetime: Duration,
    require_all: bool,
}

/// What must reach the group and its new members.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Invite {
    /// The commit, for the members.
    pub commit: MlsMessageOut,
    /// The Welcome, for the new members.
    pub welcome: MlsMessageOut,
    /// The GroupInfo, if the group is configured to make one.
    pub group_info: Option<GroupInfo>,
    /// The packages that the Welcome is for: each names a user and device.
    pub added: Vec<KeyPackageName>,
}

/// What an invite did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Invited {
    /// The new members: user, device, and the package each was added with.
    pub added: Vec<KeyPackageName>,
    /// The users and devices for which there was no package, and why.
    pub missing: Vec<Missing>,
    /// The packages that failed verification.
    pub unusable: Vec<RejectedPackage>,
}

impl<V: CredentialVerifier> Inviter<V> {
    /// An inviter that trusts the credentials that `verifier` approves.
    pub fn new(client: Client, verifier: V) -> Self {
        Self {
            client,
            verifier,
            own_device: None,
            ttl: None,
            min_remaining_lifetime: None,
            max_lifetime: MAX_LIFETIME,
            require_all: false,
        }
    }

    /// The inviting device, which is never among the targets: so a user can be invited to its own
    /// groups, with all its other devices.
    #[must_use]
    pub fn own_device(mut self, user_id: impl Into<String>, device_id: impl Into<String>) -> Self {
        self.own_device = Some((user_id.into(), device_id.into()));
        self
    }

    /// How long packages are held. See [`ReserveBuilder::ttl`].
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long packages must stay valid. See [`ReserveBuilder::min_remaining_lifetime`].
    #[must_use]
    pub fn min_remaining_lifetime(mut self, lifetime: Duration) -> Self {
        self.min_remaining_lifetime = Some(lifetime);
        self
    }

    /// The longest total lifetime of a package (RFC 9420, section 7.2). 90 days unless set.
    #[must_use]
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_lifetime = lifetime;
        self
    }

    /// Adds all the targets' devices, or nobody.
    #[must_use]
    pub fn require_all(mut self) -> Self {
        self.require_all = true;
        self
    }

    /// Adds the targets' devices to the group: reserves a package for each, verifies it, commits,
    /// spends, publishes by `publish`, and merges the commit.
    ///
    /// A package that fails verification is given back, as unusable where it is so for everybody,
    /// and another one reserved in its place, once. The commit takes the group's pending proposals
    /// along, as `MlsGroup::add_members` does.
    ///
    /// `publish` is called once all packages are spent, so nobody else can use them. It must send
    /// the commit to the group and the Welcome to the new members, and fail unless the delivery
    /// service has accepted the commit for this epoch.
    ///
    /// A future that is dropped before it is ready may leave a pending commit in the group: if
    /// `publish` was not called, clear it; else proceed as after [`InviteError::Publish`].
    ///
    /// # Errors
    ///
    /// [`InviteError`], whose variants say what to do about the group.
    pub async fn invite<P, E>(
        &self,
        group: &mut MlsGroup,
        provider: &P,
        signer: &impl Signer,
        targets: impl IntoIterator<Item = Target>,
        publish: impl AsyncFnOnce(Invite) -> Result<(), E>,
    ) -> Result<Invited, InviteError>
    where
        P: OpenMlsProvider,
        P::StorageError: Send + Sync + 'static,
        E: Into<BoxError>,
    {
        if group.pending_commit().is_some() || !group.is_active() {
            return Err(InviteError::GroupNotReady);
        }
        let targets = self.without_own_device(targets);
        let Verified { mut reservation, packages, missing, unusable } =
            self.reserve_verified(group, provider.crypto(), &targets).await?;

        let (added, key_packages) = packages.into_iter().unzip();
        let invite = match commit(group, provider, signer, added, key_packages) {
            Ok(invite) => invite,
            Err(error) => {
                release(reservation).await;
                return Err(InviteError::Commit(error));
            }
        };

        if let Err(source) = reservation.spend_packages(&invite.added).await {
            let cleared = group.clear_pending_commit(provider.storage());
            release(reservation).await;
            cleared.map_err(|error| InviteError::Clear(error.into()))?;
            return Err(InviteError::Spend { source });
        }

        let added = invite.added.clone();
        publish(invite.clone()).await.map_err(|error| InviteError::Publish {
            invite: Box::new(invite),
            source: error.into(),
        })?;
        group.merge_pending_commit(provider).map_err(|error| InviteError::Merge(error.into()))?;
        Ok(Invited { added, missing, unusable })
    }

    fn without_own_device(&self, targets: impl IntoIterator<Item = Target>) -> Vec<Target> {
        let without = |target: Target| match &self.own_device {
            Some((user_id, device_id)) => target.without(user_id, device_id),
            None => Some(target),
        };
        targets.into_iter().filter_map(without).collect()
    }

    async fn reserve_verified<C: OpenMlsCrypto>(
        &self,
        group: &MlsGroup,
        crypto: &C,
        targets: &[Target],
    ) -> Result<Verified, InviteError> {
        let needs = Needs::of(group);
        let reserve = self.reserve(group, targets).send();
        let mut reservation = reserve.await.map_err(InviteError::Reserve)?;
        let (mut packages, mut unusable) = self.verify(&reservation, crypto, targets, &needs);
        give_back(&mut reservation, &unusable).await;

        let mut still_missing = Vec::new();
        if unusable.iter().any(|rejected| rejected.fault.is_worth_another()) {
            match reservation.ensure().await {
                Ok(()) => {
                    let rejected;
                    (packages, rejected) = self.verify(&reservation, crypto, targets, &needs);
                    give_back(&mut reservation, &rejected).await;
                    unusable.extend(rejected);
                }
                Err(error) if self.require_all => return Err(InviteError::Reserve(error)),
                Err(error) => still_missing.extend_from_slice(error.missing()),
            }
        }

        let missing = [reservation.missing(), &still_missing].concat();
        let is_complete = missing.is_empty() && unusable.iter().all(|r| is_replaced(r, &packages));
        if packages.is_empty() || (self.require_all && !is_complete) {
            release(reservation).await;
            return Err(InviteError::Incomplete { missing, unusable });
        }
        Ok(Verified { reservation, packages, missing, unusable })
    }

    fn reserve(&self, group: &MlsGroup, targets: &[Target]) -> ReserveBuilder {
        let mut reserve = self
            .client
            .reserve(group.group_id().as_slice())
            .cipher_suite(group.ciphersuite().into())
            .targets(targets.iter().cloned());
        if let Some(ttl) = self.ttl {
            reserve = reserve.ttl(ttl);
        }
        if let Some(lifetime) = self.min_remaining_lifetime {
            reserve = reserve.min_remaining_lifetime(lifetime);
        }
        if self.require_all { reserve.require_all() } else { reserve }
    }

    fn verify<C: OpenMlsCrypto>(
        &self,
        reservation: &Reservation,
        crypto: &C,
        targets: &[Target],
        needs: &Needs,
    ) -> (Vec<Package>, Vec<RejectedPackage>) {
        let mut verification =
            Verification::new(crypto, &self.verifier, targets, needs, self.max_lifetime);
        let mut packages = Vec::new();
        let mut rejected = Vec::new();
        for package in reservation.packages() {
            let name = package.name.clone();
            match verification.verify(package) {
                Ok(key_package) => packages.push((name, key_package)),
                Err(fault) => rejected.push(RejectedPackage { name, fault }),
            }
        }
        (packages, rejected)
    }
}

type Package = (KeyPackageName, KeyPackage);

struct Verified {
    reservation: Reservation,
    packages: Vec<Package>,
    missing: Vec<Missing>,
    unusable: Vec<RejectedPackage>,
}

fn is_replaced(rejected: &RejectedPackage, packages: &[Package]) -> bool {
    packages.iter().any(|(name, _)| {
        name.user_id == rejected.name.user_id && name.device_id == rejected.name.device_id
    })
}

/// Best effort: what is not given back lapses.
async fn give_back(reservation: &mut Reservation, rejected: &[RejectedPackage]) {
    for RejectedPackage { name, fault } in rejected {
        tracing::warn!(user = name.user_id, device = name.device_id, %fault, "rejected a package");
        if let Err(error) = reservation.release_unusable(name, fault.unusable_reason()).await {
            tracing::debug!(%error, "a rejected package was not given back");
        }
    }
}

/// Best effort: what is not released lapses.
async fn release(reservation: Reservation) {
    if let Err(error) = reservation.release().await {
        tracing::debug!(%error, "a reservation was not released");
    }
}

fn commit<P>(
    group: &mut MlsGroup,
    provider: &P,
    signer: &impl Signer,
    added: Vec<KeyPackageName>,
    key_packages: Vec<KeyPackage>,
) -> Result<Invite, BoxError>
where
    P: OpenMlsProvider,
    P::StorageError: Send + Sync + 'static,
{
    let bundle = group
        .commit_builder()
        .propose_adds(key_packages)
        .force_self_update(true)
        .load_psks(provider.storage())?
        .build(provider.rand(), provider.crypto(), signer, |_| true)?
        .stage_commit(provider)?;
    let welcome = bundle.to_welcome_msg().ok_or("a commit with new members and no Welcome")?;
    let (commit, _, group_info) = bundle.into_contents();
    Ok(Invite { commit, welcome, group_info, added })
}
