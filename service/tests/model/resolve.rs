//! What the picks of an operation stand for.

use crate::{
    operations::{Index, TargetPick, Who, nth},
    stock::STOCK,
};
use keypool_service::{
    pool::{Caller, PackageName, ReserveReport, Target},
    testing::model::{Facts, Owner},
    types::{GroupId, Holder, ReservationId},
};

pub(crate) fn caller(who: &Who) -> Caller {
    let holder = (who.reservation + usize::from(who.other_holder)) % 2;
    Caller {
        holder: Holder::new(&format!("holder-{holder}")).unwrap(),
        principal: Holder::new(&format!("principal-{}", who.principal)).unwrap(),
        limited: false,
        is_backend: who.is_backend,
        whoever_holds: false,
    }
}

pub(crate) fn reservation(who: &Who) -> ReservationId {
    ReservationId::new(&format!("reservation-{}", who.reservation)).unwrap()
}

pub(crate) fn group(who: &Who) -> GroupId {
    let group = (who.reservation + usize::from(who.other_group)) % 3;
    GroupId::new(format!("group-{group}")).unwrap()
}

pub(crate) fn any_package(index: Index) -> &'static Facts {
    nth(STOCK.all(), index)
}

/// Any device; now and then one that never uploads.
pub(crate) fn any_owner(index: Index) -> &'static Owner {
    let known = STOCK.owners.iter().cycle().take(4 * STOCK.owners.len());
    let all: Vec<&Owner> = known.chain(&STOCK.strangers).collect();
    nth::<&Owner>(&all, index)
}

pub(crate) fn target(pick: &TargetPick) -> Target {
    let (owner, device, excluded) = match pick {
        TargetPick::Device(index) => {
            let owner = any_owner(*index);
            (owner, Some(owner.device.clone()), Vec::new())
        }
        TargetPick::User { user, excluded } => {
            let excluded = excluded.iter().map(|index| any_owner(*index).device.clone());
            (any_owner(*user), None, excluded.collect())
        }
    };
    Target { user: owner.user.clone(), device, excluded }
}

pub(crate) fn name(facts: &Facts) -> PackageName {
    named(&facts.owner, facts)
}

pub(crate) fn named(owner: &Owner, facts: &Facts) -> PackageName {
    PackageName {
        user: owner.user.clone(),
        device: owner.device.clone(),
        reference: facts.reference.clone(),
    }
}

pub(crate) fn names(report: ReserveReport) -> impl Iterator<Item = PackageName> {
    report.reservation.packages.into_iter().map(|one| PackageName {
        user: one.user,
        device: one.device,
        reference: one.package.reference,
    })
}
