//! Runs operations on the real pool and on the model, side by side.

use crate::{
    check::{self, Checked},
    operations::{Index, Operation, Pick, Selection, Who, nth},
    real::{Real, policy},
    resolve::{any_owner, any_package, caller, group, name, named, names, reservation, target},
    stock::STOCK,
};
use jiff::{SignedDuration, Timestamp};
use keypool_service::{
    pool::{
        Caller, Extension, HoldRequest, PackageName, PoolError, Release, ReserveRequest, Selector,
        SpendRequest,
    },
    store::Report,
    testing::model::{Facts, Model, Owner, Reconciled, Status},
    types::CipherSuite,
};
use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};
use std::collections::BTreeMap;

/// How long every operation takes: so no two have the same time.
const TICK: SignedDuration = SignedDuration::from_millis(1);

pub(crate) struct Run<'a> {
    real: &'a mut Real,
    model: Model,
    /// What each reservation was handed, the latest last.
    handed: BTreeMap<usize, Vec<PackageName>>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(real: &'a mut Real) -> Self {
        Self { real, model: Model::new(STOCK.start, policy()), handed: BTreeMap::new() }
    }

    pub(crate) async fn step(&mut self, operation: &Operation) -> Checked {
        self.set_time(self.model.now + TICK);
        self.run(operation).await?;
        check::pools(self.real, &self.model).await
    }

    pub(crate) async fn finish(mut self) -> Checked {
        check::log(self.real, &self.model).await?;
        // Whatever can be forgotten is, and the books still balance.
        self.set_time(self.model.now + SignedDuration::from_hours(12 * 24));
        self.run(&Operation::Sweep).await?;
        check::pools(self.real, &self.model).await?;
        check::log(self.real, &self.model).await
    }

    fn set_time(&mut self, now: Timestamp) {
        self.model.now = now;
        self.real.clock.set(now);
    }

    async fn run(&mut self, operation: &Operation) -> Checked {
        match operation {
            Operation::Upload { device, one_time, last_resort } => {
                let owner = nth(&STOCK.owners, *device);
                let packages =
                    [(one_time, false), (last_resort, true)].map(|(picks, last_resort)| {
                        let stock = STOCK.of(owner, last_resort);
                        picks.iter().map(|pick| *nth(&stock, *pick)).collect::<Vec<_>>()
                    });
                self.upload(owner, &packages.concat()).await
            }
            Operation::UploadAny { device, packages } => {
                let packages: Vec<_> = packages.iter().map(|one| any_package(*one)).collect();
                self.upload(nth(&STOCK.owners, *device), &packages).await
            }
            Operation::Reserve {
                who,
                targets,
                suites,
                ttl,
                min_remaining,
                require_all,
                limited,
            } => {
                let request = ReserveRequest {
                    caller: Caller { limited: *limited, ..caller(who) },
                    reservation: reservation(who),
                    group: group(who),
                    targets: targets.iter().map(target).collect(),
                    cipher_suites: suites.iter().map(|&suite| CipherSuite(suite)).collect(),
                    hold: ttl.map(SignedDuration::from_secs),
                    min_remaining: min_remaining.map(SignedDuration::from_secs),
                    require_all: *require_all,
                };
                self.reserve(who.reservation, request).await
            }
            Operation::Spend { who, packages } => {
                let who = &self.one_with_packages(who);
                let request = SpendRequest { hold: self.hold(who, packages), group: group(who) };
                let real = self.real.pool().spend(&request).await;
                check::fates(&real, &self.model.spend(&request))
            }
            Operation::Release { who, packages } => self.release(who, packages).await,
            Operation::Extend { who, packages, ttl } => {
                let who = &self.one_with_packages(who);
                let ttl = ttl.map(SignedDuration::from_secs);
                let request = Extension { hold: self.hold(who, packages), ttl };
                let real = self.real.pool().extend(&request).await;
                let (fates, end) = self.model.extend(&request);
                check::fates(&real, &fates)?;
                prop_assert_eq!(real.unwrap_or(end), end, "when the first hold ends");
                Ok(())
            }
            Operation::Revoke { user, device, selector } => {
                let owner = match selector {
                    // Mostly of the user that the packages are of.
                    Selection::Refs(picks) if user % 4 > 0 => {
                        let reference = self.package(None, &picks[0]).reference;
                        &STOCK.facts(&reference).owner
                    }
                    _ => any_owner(*user),
                };
                self.revoke(owner, *device, &self.selector(selector)).await
            }
            Operation::Reconcile { device, lost, more, age } => {
                self.reconcile(*device, lost, more, *age).await
            }
            Operation::Status { user, device } => self.status(any_owner(*user), *device).await,
            Operation::Sweep => {
                let real = self.real.pool().sweep().await.map_err(failed)?;
                prop_assert_eq!(real, self.model.sweep(), "what was purged");
                Ok(())
            }
            Operation::RaiseFence => {
                self.real.raise_fence().await;
                self.model.raise_fence();
                Ok(())
            }
            Operation::LiftFences => {
                self.real.lift_fences().await;
                self.model.lift_fences();
                Ok(())
            }
            Operation::Restart(replica) => {
                self.real.restart(*replica);
                Ok(())
            }
            Operation::Advance(seconds) => {
                self.set_time(self.model.now + SignedDuration::from_secs(*seconds));
                Ok(())
            }
            Operation::Jump { to, nth, milliseconds } => {
                let events = self.model.events(*to);
                if let Some(event) = events.get(*nth).or(events.last()) {
                    // The next operation is to be at that time.
                    let now = *event + SignedDuration::from_millis(*milliseconds) - TICK;
                    self.set_time(now.max(self.model.now));
                }
                Ok(())
            }
        }
    }

    async fn upload(&mut self, owner: &Owner, packages: &[&'static Facts]) -> Checked {
        let bytes = packages.iter().map(|one| one.bytes.clone()).collect();
        let real = self.real.pool().upload(&owner.user, &owner.device, bytes).await;
        let real = real.map_err(failed)?;
        check::uploaded(&real.results, &self.model.upload(owner, packages))?;
        prop_assert_eq!(Status::from(real.status), self.model.status_of(owner));
        Ok(())
    }

    async fn reserve(&mut self, number: usize, request: ReserveRequest) -> Checked {
        let model = self.model.reserve(&request);
        let real = self.real.pool().reserve(request).await;
        check::reserved(&real, &model)?;
        if let Ok(report) = real {
            let handed = self.handed.entry(number).or_default();
            for name in names(report) {
                handed.retain(|one| *one != name);
                handed.push(name);
            }
        }
        Ok(())
    }

    async fn release(&mut self, who: &Who, packages: &[(Pick, Option<Report>)]) -> Checked {
        let (picks, mut reports): (Vec<_>, Vec<_>) = packages.iter().cloned().unzip();
        let hold = self.hold(&self.one_with_packages(who), &picks);
        reports.truncate(hold.packages.len());
        let request = Release { hold, reports };
        let real = self.real.pool().release(&request).await;
        check::fates(&real, &self.model.release(&request))
    }

    async fn revoke(&mut self, owner: &Owner, one_device: bool, selector: &Selector) -> Checked {
        let device = one_device.then_some(&owner.device);
        let model = self.model.revoke(&owner.user, device, selector);
        match (self.real.pool().revoke(&owner.user, device, selector.clone()).await, model) {
            (Ok(real), Some(model)) => prop_assert_eq!(real, model, "how many were revoked"),
            (Err(error), None) => check::unknown(&error, &self.model, owner)?,
            (real, model) => prop_assert!(false, "real: {real:?}\nmodel: {model:?}"),
        }
        Ok(())
    }

    async fn reconcile(
        &mut self,
        device: Index,
        lost: &[Index],
        more: &[Index],
        age: Option<u8>,
    ) -> Checked {
        let as_of = age.map(|age| self.model.now - TICK * age.into());
        let owner = any_owner(device);
        let mut refs = self.model.known_refs(owner);
        refs.retain(|one| !lost.iter().any(|lost| any_package(*lost).reference == *one));
        refs.extend(more.iter().map(|one| any_package(*one).reference.clone()));
        refs.sort();
        refs.dedup();
        let model = self.model.reconcile(owner, &refs, as_of);
        let real = self.real.pool().reconcile(&owner.user, &owner.device, refs, as_of).await;
        match (real, model) {
            (Ok(real), Some(Reconciled { revoked, unavailable })) => {
                prop_assert_eq!(real.revoked, revoked, "what was revoked");
                let agree = real.unavailable.len() == unavailable.len()
                    && real.unavailable.iter().all(|real| {
                        unavailable.iter().any(|(reference, states)| {
                            *reference == real.reference && states.contains(&real.state)
                        })
                    });
                prop_assert!(agree, "real: {:?}\nmodel: {unavailable:?}", real.unavailable);
                prop_assert_eq!(Status::from(real.status), self.model.status_of(owner));
            }
            (Err(error), None) => check::unknown(&error, &self.model, owner)?,
            (real, model) => prop_assert!(false, "real: {real:?}\nmodel: {model:?}"),
        }
        Ok(())
    }

    async fn status(&mut self, owner: &Owner, one_device: bool) -> Checked {
        let device = one_device.then_some(&owner.device);
        let model = self.model.status(&owner.user, device);
        match self.real.pool().status(&owner.user, device).await {
            Ok(real) => {
                let real: Vec<Status> = real.into_iter().map(Status::from).collect();
                prop_assert_eq!(real, model);
            }
            Err(error) => {
                prop_assert_eq!(model.len(), 0);
                check::unknown(&error, &self.model, owner)?;
            }
        }
        Ok(())
    }

    /// A reservation that was handed something, if there is one.
    fn one_with_packages(&self, who: &Who) -> Who {
        let reservations: Vec<usize> = self.handed.keys().copied().collect();
        let count = reservations.len().max(1);
        let reservation = reservations.get(who.reservation % count).copied();
        Who { reservation: reservation.unwrap_or(who.reservation), ..who.clone() }
    }

    /// A call about some packages, none of them twice.
    fn hold(&self, who: &Who, picks: &[Pick]) -> HoldRequest {
        let mut packages = Vec::new();
        for name in picks.iter().map(|pick| self.package(Some(who.reservation), pick)) {
            if !packages.contains(&name) {
                packages.push(name);
            }
        }
        HoldRequest { caller: caller(who), reservation: reservation(who), packages }
    }

    fn selector(&self, selection: &Selection) -> Selector {
        match selection {
            Selection::Refs(picks) => Selector::Refs(
                picks.iter().map(|pick| self.package(None, pick).reference).collect(),
            ),
            Selection::CredentialOf { package, credential, signature_key } => {
                let facts = any_package(*package);
                Selector::Credential {
                    credential: credential.then(|| facts.credential.clone()),
                    signature_key: signature_key.then(|| facts.signature_key.clone()),
                }
            }
            Selection::All => Selector::All,
        }
    }

    fn package(&self, reservation: Option<usize>, pick: &Pick) -> PackageName {
        match pick {
            Pick::Handed(nth) => {
                let handed =
                    reservation.and_then(|one| self.handed.get(&one)).into_iter().flatten();
                let latest = handed.rev().cycle().nth(*nth).cloned();
                latest.unwrap_or_else(|| name(any_package(*nth)))
            }
            Pick::HandedToAny(index) => {
                let all: Vec<_> = self.handed.values().flatten().collect();
                if all.is_empty() {
                    return name(any_package(*index));
                }
                (*nth(&all, *index)).clone()
            }
            Pick::Any(index) => name(any_package(*index)),
            Pick::Misnamed(index) => {
                let facts = any_package(*index);
                let other = STOCK.owners.iter().find(|owner| **owner != facts.owner).unwrap();
                named(other, facts)
            }
        }
    }
}

fn failed(error: PoolError) -> TestCaseError {
    TestCaseError::fail(format!("{error:?}"))
}
