use super::{Model, Owner, Package, State};
use crate::{
    pool::Selector,
    store::UnavailableState,
    types::{DeviceId, KeyPackageRef, UserId},
};
use jiff::Timestamp;

/// What a reconcile leads to.
#[derive(Debug)]
pub struct Reconciled {
    /// What is revoked now.
    pub revoked: Vec<KeyPackageRef>,
    /// The refs that can't be handed out, each with the states of which any is right.
    pub unavailable: Vec<(KeyPackageRef, Vec<UnavailableState>)>,
}

impl Model {
    /// How many packages are revoked; none if the user or device is unknown.
    pub fn revoke(
        &mut self,
        user: &UserId,
        device: Option<&DeviceId>,
        selector: &Selector,
    ) -> Option<usize> {
        if !self.knows(user, device) {
            return None;
        }
        let revoked = self.revoke_where(|one| {
            one.facts.owner.user == *user
                && device.is_none_or(|device| one.facts.owner.device == *device)
                && selects(selector, one)
        });
        Some(revoked.len())
    }

    /// What the device has lost and what it can't rely on; none if the device is unknown.
    pub fn reconcile(
        &mut self,
        owner: &Owner,
        refs: &[KeyPackageRef],
        as_of: Option<Timestamp>,
    ) -> Option<Reconciled> {
        if !self.knows(&owner.user, Some(&owner.device)) {
            return None;
        }
        let lost = |one: &Package| {
            one.facts.owner == *owner
                && !refs.contains(&one.facts.reference)
                && as_of.is_none_or(|as_of| one.uploaded_at <= as_of)
        };
        let revoked = self.revoke_where(lost);
        let now = self.now;
        let mut forgotten = Vec::new();
        for package in self.packages.values_mut() {
            if package.facts.owner == *owner && refs.contains(&package.facts.reference) {
                forgotten.extend(package.vouch(now));
            }
        }
        for (facts, hold) in forgotten {
            self.log_lapse(&hold, facts);
        }
        let unavailable = refs.iter().map(|one| (one.clone(), self.unavailable(owner, one)));
        let unavailable = unavailable.filter(|(_, states)| !states.is_empty()).collect();
        Some(Reconciled { revoked, unavailable })
    }

    /// Only what is unspent and valid can be revoked.
    fn revoke_where(&mut self, selects: impl Fn(&Package) -> bool) -> Vec<KeyPackageRef> {
        let now = self.now;
        let (mut revoked, mut forgotten) = (Vec::new(), Vec::new());
        for (reference, package) in &mut self.packages {
            if !package.stands(now) || !selects(package) {
                continue;
            }
            forgotten.extend(package.forget_doubtful_hold(now));
            if let State::Pooled(hold) = &mut package.state {
                package.state = State::Revoked { at: now, hold: hold.take() };
                package.emptied = true;
                revoked.push(reference.clone());
            }
        }
        for (facts, hold) in forgotten {
            self.log_lapse(&hold, facts);
        }
        revoked
    }

    fn unavailable(&self, owner: &Owner, reference: &KeyPackageRef) -> Vec<UnavailableState> {
        let package = self.packages.get(reference).filter(|one| one.facts.owner == *owner);
        let Some(package) = package else { return vec![UnavailableState::Unknown] };
        if matches!(package.state, State::Spent) {
            return vec![UnavailableState::Spent];
        }
        let states = [
            (package.expired(self.now), UnavailableState::Expired),
            (package.revoked(), UnavailableState::Revoked),
            (package.superseded_at.is_some(), UnavailableState::Superseded),
            (package.held(self.now), UnavailableState::Reserved),
            (package.returned(self.now), UnavailableState::Returned),
        ];
        states.into_iter().filter_map(|(is, state)| is.then_some(state)).collect()
    }
}

fn selects(selector: &Selector, package: &Package) -> bool {
    let facts = package.facts;
    match selector {
        Selector::Refs(refs) => refs.contains(&facts.reference),
        Selector::Credential { credential, signature_key } => {
            credential.as_ref().is_none_or(|one| *one == facts.credential)
                && signature_key.as_ref().is_none_or(|one| *one == facts.signature_key)
        }
        Selector::All => true,
    }
}
