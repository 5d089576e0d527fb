//! What is done to holds: spend, release, extend.

use super::{Family, LaneRules, Work};
use crate::{
    store::{HeldItem, ReleaseItem, Session, SpendItem, StoreError},
    types::GroupId,
};
use jiff::{SignedDuration, Timestamp};
use std::ops::Range;

/// What is to be done to held packages.
#[derive(Debug, Clone)]
pub enum HoldCall {
    /// Use them up.
    Spend(Vec<SpendItem>),
    /// Give them back, or set them aside.
    Release(Vec<ReleaseItem>),
    /// Hold them for so long from now.
    Extend(Vec<HeldItem>, SignedDuration),
}

impl HoldCall {
    /// How many packages it is about.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Spend(items) => items.len(),
            Self::Release(items) => items.len(),
            Self::Extend(items, _) => items.len(),
        }
    }

    /// Whether it is about nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packages that it is about.
    #[must_use]
    pub fn held(&self) -> Vec<HeldItem> {
        match self {
            Self::Spend(items) => items.iter().map(|item| item.held.clone()).collect(),
            Self::Release(items) => items.iter().map(|item| item.held.clone()).collect(),
            Self::Extend(items, _) => items.clone(),
        }
    }

    /// The group that the reservation must be for; none if it doesn't matter.
    #[must_use]
    pub fn group(&self) -> Option<&GroupId> {
        match self {
            Self::Spend(items) => items.first().map(|item| &item.group),
            Self::Release(_) | Self::Extend(..) => None,
        }
    }

    /// The same for some of its packages, by their numbers.
    #[must_use]
    pub fn only(&self, numbers: &[usize]) -> Self {
        match self {
            Self::Spend(items) => Self::Spend(pick(items, numbers)),
            Self::Release(items) => Self::Release(pick(items, numbers)),
            Self::Extend(items, ttl) => Self::Extend(pick(items, numbers), *ttl),
        }
    }

    /// The parts of the call that each lane serves: its number, and the numbers of the packages in the call.
    pub(super) fn split(self, family: &Family<Hold>) -> Vec<(usize, Vec<usize>, Self)> {
        let lane = |held: &HeldItem| family.lane_of(held.device.bucket);
        match self {
            Self::Spend(items) => parts(items, |item| lane(&item.held), Self::Spend),
            Self::Release(items) => parts(items, |item| lane(&item.held), Self::Release),
            Self::Extend(items, ttl) => parts(items, lane, |items| Self::Extend(items, ttl)),
        }
    }
}

fn pick<T: Clone>(items: &[T], numbers: &[usize]) -> Vec<T> {
    numbers.iter().map(|&number| items[number].clone()).collect()
}

fn parts<T>(
    items: Vec<T>,
    lane: impl Fn(&T) -> usize,
    call: impl Fn(Vec<T>) -> HoldCall,
) -> Vec<(usize, Vec<usize>, HoldCall)> {
    let mut parts: Vec<(usize, Vec<usize>, Vec<T>)> = Vec::with_capacity(1);
    for (number, item) in items.into_iter().enumerate() {
        let lane = lane(&item);
        let place = parts.iter().position(|part| part.0 == lane).unwrap_or_else(|| {
            parts.push((lane, Vec::new(), Vec::new()));
            parts.len() - 1
        });
        parts[place].1.push(number);
        parts[place].2.push(item);
    }
    parts.into_iter().map(|(lane, numbers, items)| (lane, numbers, call(items))).collect()
}

/// For each package of a call: none if it isn't held as the call says; else it was done, at this time or, if extended, up
/// to this time.
pub type HoldReply = Vec<Option<Timestamp>>;

/// Executes [`HoldCall`]s.
pub(super) struct Hold {
    rules: LaneRules,
}

impl Hold {
    pub(super) fn new(rules: LaneRules) -> Self {
        Self { rules }
    }

    async fn spend(
        &self,
        session: &mut Session,
        items: &[SpendItem],
    ) -> Result<HoldReply, StoreError> {
        let now = self.rules.clock.now();
        let mut reply = vec![None; items.len()];
        for item in session.spend(items, now).await? {
            reply[item] = Some(now);
        }
        let rest: Vec<usize> = (0..items.len()).filter(|&item| reply[item].is_none()).collect();
        if !rest.is_empty() {
            let items: Vec<SpendItem> = rest.iter().map(|&item| items[item].clone()).collect();
            let revoked_after = now - self.rules.revocation_grace;
            for item in session.spend_rest(&items, now, revoked_after).await? {
                reply[rest[item]] = Some(now);
            }
        }
        Ok(reply)
    }

    async fn release(
        &self,
        session: &mut Session,
        items: &[ReleaseItem],
    ) -> Result<HoldReply, StoreError> {
        let now = self.rules.clock.now();
        let mut reply = vec![None; items.len()];
        for item in session.release(items, now).await? {
            reply[item] = Some(now);
        }
        Ok(reply)
    }

    async fn extend(
        &self,
        session: &mut Session,
        items: &[(HeldItem, SignedDuration)],
    ) -> Result<HoldReply, StoreError> {
        let now = self.rules.clock.now();
        let ends: Vec<_> = items.iter().map(|(held, ttl)| (held.clone(), now + *ttl)).collect();
        let mut reply = vec![None; items.len()];
        let revoked_after = now - self.rules.revocation_grace;
        for (item, held_until) in
            session.extend(&ends, now, revoked_after, self.rules.max_total_hold).await?
        {
            reply[item] = Some(held_until);
        }
        Ok(reply)
    }
}

impl Work for Hold {
    const NAME: &'static str = "hold";
    const GIVES_BACK: bool = false;
    type Item = HoldCall;
    type Reply = HoldReply;

    fn weight(call: &HoldCall) -> usize {
        call.len()
    }

    async fn run(
        &self,
        session: &mut Session,
        calls: &[&HoldCall],
    ) -> Result<Vec<HoldReply>, StoreError> {
        let (mut spend, mut release, mut extend) = (vec![], vec![], vec![]);
        // Where each call's items are among those of its kind.
        let mut places: Vec<Range<usize>> = Vec::with_capacity(calls.len());
        for call in calls {
            places.push(match call {
                HoldCall::Spend(items) => append(&mut spend, items.iter().cloned()),
                HoldCall::Release(items) => append(&mut release, items.iter().cloned()),
                HoldCall::Extend(items, ttl) => {
                    append(&mut extend, items.iter().map(|held| (held.clone(), *ttl)))
                }
            });
        }
        let (mut spent, mut released, mut extended) = (vec![], vec![], vec![]);
        if !spend.is_empty() {
            spent = self.spend(session, &spend).await?;
        }
        if !release.is_empty() {
            released = self.release(session, &release).await?;
        }
        if !extend.is_empty() {
            extended = self.extend(session, &extend).await?;
        }
        let replies = calls.iter().zip(places).map(|(call, place)| {
            let replies = match call {
                HoldCall::Spend(_) => &spent,
                HoldCall::Release(_) => &released,
                HoldCall::Extend(..) => &extended,
            };
            replies[place].to_vec()
        });
        Ok(replies.collect())
    }
}

/// Appends items, and returns where they are.
fn append<T>(all: &mut Vec<T>, items: impl Iterator<Item = T>) -> Range<usize> {
    let start = all.len();
    all.extend(items);
    start..all.len()
}
