//! Ensures that reservations hold packages.

use super::{
    Family, LaneRules, Work,
    hold::{Hold, HoldCall},
};
use crate::{
    limits::{Limit, Limits},
    store::{
        DeviceKey, HeldItem, Locked, Missing, Own, ReleaseItem, ReserveFilter, ReservedRow,
        Session, StoreError, Want,
    },
    types::{CipherSuite, DeviceId, GroupId, Holder, ReservationId, Target, UserId},
};
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// How often packages that others have locked are waited for, before they are counted as gone. Each wait ends with one
/// package taken by somebody.
const WAITS: usize = 8;

/// What all the targets of a reserve share.
#[derive(Debug, Clone)]
pub struct ReserveCall {
    /// The reservation.
    pub reservation: ReservationId,
    /// The group it is for.
    pub group: GroupId,
    /// Who holds it.
    pub holder: Holder,
    /// Who calls.
    pub principal: Holder,
    /// How long a new hold lasts.
    pub ttl: SignedDuration,
    /// Acceptable cipher suites; none means any.
    pub cipher_suites: Vec<CipherSuite>,
    /// How long each package must stay valid.
    pub min_remaining: SignedDuration,
    /// How many live holds the holder may have on one device; none means any number.
    pub max_holds: Option<u32>,
}

impl ReserveCall {
    fn has_filter_of(&self, other: &Self) -> bool {
        self.cipher_suites == other.cipher_suites && self.min_remaining == other.min_remaining
    }
}

/// What a reserve reached for a device.
#[derive(Debug, Clone)]
pub struct DeviceOutcome {
    /// The user.
    pub user: UserId,
    /// The device; none if it is about a user without any.
    pub device: Option<DeviceId>,
    /// What the reservation has.
    pub outcome: Outcome,
}

/// What a reservation has of a device, or why nothing.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A package.
    Reserved(ReservedRow),
    /// Nothing could be taken.
    Missing(Missing),
    /// The holder has as many live holds on the device as it may.
    Limited,
    /// The reservation holds a package of a cipher suite that is not acceptable now.
    OtherSuite,
    /// The reservation was made for another group.
    OtherGroup,
    /// The reservation is another holder's.
    OtherHolder,
}

/// What a reserve reached. Dropped before it is claimed, it gives back what nobody has asked for again since.
pub struct Granted {
    call: Arc<ReserveCall>,
    outcomes: Vec<DeviceOutcome>,
    hold: Arc<Family<Hold>>,
}

impl Granted {
    pub(super) fn nothing(call: Arc<ReserveCall>, hold: Arc<Family<Hold>>) -> Self {
        Self { call, outcomes: Vec::new(), hold }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.outcomes.extend(other.claim());
    }

    /// One element for each device of the targets, ordered by user and device within each part of a call.
    #[must_use]
    pub fn outcomes(&self) -> &[DeviceOutcome] {
        &self.outcomes
    }

    /// Takes what was reached: it is the caller's from now on.
    #[must_use]
    pub fn claim(mut self) -> Vec<DeviceOutcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Gives back what is held, but for what somebody has asked for again since.
    ///
    /// # Errors
    /// If the database fails; then the holds end with their time.
    pub async fn give_back(self, lanes: &super::Lanes) -> Result<(), super::LaneError> {
        let items = self.releases();
        let _outcomes = self.claim();
        if !items.is_empty() {
            lanes.hold(HoldCall::Release(items)).await?;
        }
        Ok(())
    }

    fn releases(&self) -> Vec<ReleaseItem> {
        let release = |one: &DeviceOutcome| {
            let (Outcome::Reserved(row), Some(device)) = (&one.outcome, &one.device) else {
                return None;
            };
            let device = DeviceKey::new(one.user.clone(), device.clone());
            (!row.spent)
                .then(|| release_item(&device, &self.call.reservation, &self.call.holder, row))
        };
        self.outcomes.iter().filter_map(release).collect()
    }
}

/// The release of what was just reserved, unless it is asked for again before.
fn release_item(
    device: &DeviceKey,
    reservation: &ReservationId,
    holder: &Holder,
    row: &ReservedRow,
) -> ReleaseItem {
    ReleaseItem {
        held: HeldItem {
            device: device.clone(),
            reference: row.reference.clone(),
            reservation: reservation.clone(),
            holder: Some(holder.clone()),
        },
        unusable_reason: None,
        asked_at: row.asked_at,
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        // Last-resort packages are shared: a hold on one keeps nobody waiting.
        let items = self.releases().into_iter().filter(|item| item.asked_at.is_some());
        for (lane, _, call) in HoldCall::Release(items.collect()).split(&self.hold) {
            // In vain if the lanes are full or closed: then the holds end with their time.
            let _ = self.hold.lane(lane).push_unattended(call);
        }
    }
}

/// The targets of a call that are one lane's.
pub(super) struct ReservePart {
    call: Arc<ReserveCall>,
    targets: Vec<Target>,
}

impl ReservePart {
    pub(super) fn new(call: &Arc<ReserveCall>, targets: Vec<Target>) -> Self {
        Self { call: call.clone(), targets }
    }
}

/// Executes [`ReservePart`]s.
pub(super) struct Reserve {
    rules: LaneRules,
    hold: Arc<Family<Hold>>,
}

impl Reserve {
    pub(super) fn new(rules: LaneRules, hold: Arc<Family<Hold>>) -> Self {
        Self { rules, hold }
    }
}

impl Work for Reserve {
    const NAME: &'static str = "reserve";
    type Item = ReservePart;
    type Reply = Granted;

    fn weight(part: &ReservePart) -> usize {
        part.targets.len()
    }

    async fn run(
        &self,
        session: &mut Session,
        parts: &[&ReservePart],
    ) -> Result<Vec<Granted>, StoreError> {
        let mut granted: Vec<Granted> = parts
            .iter()
            .map(|part| Granted::nothing(part.call.clone(), self.hold.clone()))
            .collect();
        for round in rounds(parts) {
            let now = self.rules.clock.now();
            let part = parts[round[0]];
            let filter = ReserveFilter {
                now,
                min_not_after: now + part.call.min_remaining,
                cipher_suites: part.call.cipher_suites.clone(),
            };
            let mut round = Round::of(session, filter, parts, &round, &self.rules.limits).await?;
            round.run(session).await?;
            for (part, outcome) in round.outcomes {
                granted[part].outcomes.push(outcome);
            }
        }
        Ok(granted)
    }
}

/// Distributes parts so that those of a round share one filter and no two are of the same reservation: a repeat must find
/// what the call before it has reserved.
fn rounds(parts: &[&ReservePart]) -> Vec<Vec<usize>> {
    let mut rounds: Vec<(Vec<usize>, HashSet<&ReservationId>)> = Vec::with_capacity(1);
    for (number, part) in parts.iter().enumerate() {
        let fits = |(round, reservations): &(Vec<usize>, HashSet<&ReservationId>)| {
            part.call.has_filter_of(&parts[round[0]].call)
                && !reservations.contains(&part.call.reservation)
        };
        let place = rounds.iter().position(fits).unwrap_or_else(|| {
            rounds.push(Default::default());
            rounds.len() - 1
        });
        rounds[place].0.push(number);
        rounds[place].1.insert(&part.call.reservation);
    }
    rounds.into_iter().map(|(round, _)| round).collect()
}

/// A want, and the number of the part that it belongs to.
struct PartWant {
    want: Want,
    part: usize,
    max_holds: Option<u32>,
}

/// Parts that share a filter, and what they have reached so far. Numbers of wants are their places in `wants`.
struct Round {
    filter: ReserveFilter,
    /// Ordered by device.
    wants: Vec<PartWant>,
    /// With the numbers of the parts.
    outcomes: Vec<(usize, DeviceOutcome)>,
    budget: Budget,
}

impl Round {
    async fn of(
        session: &mut Session,
        filter: ReserveFilter,
        parts: &[&ReservePart],
        round: &[usize],
        limits: &Arc<Limits>,
    ) -> Result<Self, StoreError> {
        let mut this = Self {
            budget: Budget::new(limits.clone(), filter.now),
            filter,
            wants: Vec::with_capacity(round.len()),
            outcomes: Vec::with_capacity(round.len()),
        };
        let mut users: Vec<(usize, &Target)> = Vec::new();
        for &number in round {
            for target in &parts[number].targets {
                match &target.device {
                    Some(device) => this.want(&parts[number].call, number, &target.user, device),
                    None => users.push((number, target)),
                }
            }
        }
        if !users.is_empty() {
            let ids: Vec<&UserId> = users.iter().map(|(_, target)| &target.user).collect();
            for ((number, target), devices) in users.iter().zip(session.devices_of(&ids).await?) {
                if devices.is_empty() {
                    let outcome = DeviceOutcome {
                        user: target.user.clone(),
                        device: None,
                        outcome: Outcome::Missing(Missing::default()),
                    };
                    this.outcomes.push((*number, outcome));
                }
                for device in devices.iter().filter(|&device| !target.excluded.contains(device)) {
                    this.want(&parts[*number].call, *number, &target.user, device);
                }
            }
        }
        this.wants.sort_by(|a, b| (&a.want.device, a.part).cmp(&(&b.want.device, b.part)));
        // A user and one of its devices may both be targets of a call.
        this.wants.dedup_by(|a, b| a.part == b.part && a.want.device == b.want.device);
        this.budget.count(session, &this.wants).await?;
        Ok(this)
    }

    fn want(&mut self, call: &ReserveCall, part: usize, user: &UserId, device: &DeviceId) {
        let want = Want {
            device: DeviceKey::new(user.clone(), device.clone()),
            reservation: call.reservation.clone(),
            group: call.group.clone(),
            holder: call.holder.clone(),
            principal: call.principal.clone(),
            held_until: self.filter.now + call.ttl,
        };
        self.wants.push(PartWant { want, part, max_holds: call.max_holds });
    }

    /// Reserves, and calls a pool exhausted only if no package is left that another transaction has merely locked.
    async fn run(&mut self, session: &mut Session) -> Result<(), StoreError> {
        let all: Vec<usize> = (0..self.wants.len()).collect();
        let Allowed { one_time, last_resort, nothing } = self.within_limits(all);
        let mut open = self.take(session, one_time, Locked::Skip).await?;
        for &want in &open {
            self.budget.give_back(&self.wants[want].want, Allowance::OneTime);
        }
        for &want in &last_resort {
            self.budget.give_back(&self.wants[want].want, Allowance::LastResort);
        }
        open.extend(last_resort);
        open.extend(nothing.into_iter().map(|(want, _)| want));
        if open.is_empty() {
            return Ok(());
        }
        open.sort_unstable();
        // What a reservation has already is no matter of limits.
        let open = self.look_up(session, open).await?;
        let Allowed { one_time: mut open, last_resort, nothing } = self.within_limits(open);
        for (want, limit) in nothing {
            limit.hit();
            self.settle(want, Outcome::Limited);
        }
        for want in self.share(session, last_resort).await? {
            Limit::Device.hit();
            self.budget.give_back(&self.wants[want].want, Allowance::LastResort);
            self.settle(want, Outcome::Limited);
        }
        for wait in 0..=WAITS {
            if open.is_empty() {
                return Ok(());
            }
            let found = self.explain(session, open).await?;
            let takable = |&(_, missing): &(usize, Missing)| missing.takable && wait < WAITS;
            let (takable, gone): (Vec<_>, Vec<_>) = found.into_iter().partition(takable);
            self.fall_back(session, gone).await?;
            let takable = takable.into_iter().map(|(want, _)| want).collect();
            open = self.take(session, takable, Locked::Wait).await?;
        }
        Ok(())
    }

    /// Takes packages, and returns the wants that got none.
    async fn take(
        &mut self,
        session: &mut Session,
        wants: Vec<usize>,
        locked: Locked,
    ) -> Result<Vec<usize>, StoreError> {
        if wants.is_empty() {
            return Ok(wants);
        }
        let taken = session.take(&self.filter, &self.refs(&wants), locked).await?;
        let kept = self.keep_within_limits(session, &wants, taken).await?;
        Ok(self.settle_all(wants, kept))
    }

    /// Gives back what holders have too much of, because another replica let them in at the same moment.
    async fn keep_within_limits(
        &mut self,
        session: &mut Session,
        wants: &[usize],
        taken: Vec<(usize, ReservedRow)>,
    ) -> Result<Vec<(usize, Outcome)>, StoreError> {
        let of_place = |place: usize| &self.wants[wants[place]].want;
        let takers: Vec<&Want> = taken.iter().map(|(place, _)| of_place(*place)).collect();
        let mut excess = self.budget.excess(session, &takers).await?;
        let mut give_back = Vec::new();
        let mut outcomes = Vec::with_capacity(taken.len());
        for (place, row) in taken {
            let want = of_place(place);
            let kept = match excess.get_mut(&pair(want)) {
                Some(excess) if *excess > 0 => {
                    *excess -= 1;
                    give_back.push(release_item(
                        &want.device,
                        &want.reservation,
                        &want.holder,
                        &row,
                    ));
                    Limit::Holds.hit();
                    Outcome::Limited
                }
                _ => Outcome::Reserved(row),
            };
            outcomes.push((place, kept));
        }
        if !give_back.is_empty() {
            session.release(&give_back, self.filter.now).await?;
        }
        Ok(outcomes)
    }

    /// Finds what reservations have from earlier calls, and returns the wants that have nothing.
    async fn look_up(
        &mut self,
        session: &mut Session,
        wants: Vec<usize>,
    ) -> Result<Vec<usize>, StoreError> {
        let own = session.own(&self.filter, &self.refs(&wants)).await?;
        let mut held = Vec::new();
        let mut known = HashSet::new();
        for (place, own) in own {
            let want = wants[place];
            known.insert(want);
            match own {
                Own::Package(row) if row.spent || row.last_resort => {
                    self.settle(want, Outcome::Reserved(row));
                }
                Own::Package(row) => held.push((want, row)),
                Own::OtherSuite => self.settle(want, Outcome::OtherSuite),
                Own::OtherGroup => self.settle(want, Outcome::OtherGroup),
                Own::OtherHolder => self.settle(want, Outcome::OtherHolder),
            }
        }
        let mut open: Vec<usize> = wants.into_iter().filter(|want| !known.contains(want)).collect();
        if !held.is_empty() {
            let asked: Vec<_> =
                held.iter().map(|(want, row)| (&self.wants[*want].want, &row.reference)).collect();
            let renewed = session.renew(&asked, self.filter.now).await?;
            let renewed: HashMap<usize, (Timestamp, Timestamp)> =
                renewed.into_iter().map(|(place, end, asked)| (place, (end, asked))).collect();
            for (place, (want, row)) in held.into_iter().enumerate() {
                match renewed.get(&place) {
                    Some(&(held_until, asked_at)) => {
                        let row = ReservedRow {
                            held_until: Some(held_until),
                            asked_at: Some(asked_at),
                            ..row
                        };
                        self.settle(want, Outcome::Reserved(row));
                    }
                    // Somebody took it over in between.
                    None => open.push(want),
                }
            }
        }
        open.sort_unstable();
        Ok(open)
    }

    /// Says for each want what there is of its device, which is looked at once.
    async fn explain(
        &self,
        session: &mut Session,
        wants: Vec<usize>,
    ) -> Result<Vec<(usize, Missing)>, StoreError> {
        let device = |want: usize| &self.wants[want].want.device;
        let mut firsts = wants.clone();
        firsts.dedup_by(|next, one| device(*next) == device(*one));
        let found = session.explain_missing(&self.filter, &self.refs(&firsts)).await?;
        let mut found = firsts.into_iter().zip(found).peekable();
        let mut explained = Vec::with_capacity(wants.len());
        let mut missing = Missing::default();
        for want in wants {
            if let Some((_, next)) = found.next_if(|(first, _)| *first == want) {
                missing = next;
            }
            explained.push((want, missing));
        }
        Ok(explained)
    }

    /// Hands out last-resort packages, and settles what is missing.
    async fn fall_back(
        &mut self,
        session: &mut Session,
        wants: Vec<(usize, Missing)>,
    ) -> Result<(), StoreError> {
        if wants.is_empty() {
            return Ok(());
        }
        let (numbers, missing): (Vec<usize>, Vec<Missing>) = wants.into_iter().unzip();
        for &want in &numbers {
            self.budget.no_one_time(&self.wants[want].want);
        }
        let missing: HashMap<usize, Missing> = numbers.iter().copied().zip(missing).collect();
        for want in self.share(session, numbers).await? {
            self.settle(want, Outcome::Missing(missing[&want]));
        }
        Ok(())
    }

    /// Hands out last-resort packages, and returns the wants of devices that have none.
    async fn share(
        &mut self,
        session: &mut Session,
        wants: Vec<usize>,
    ) -> Result<Vec<usize>, StoreError> {
        if wants.is_empty() {
            return Ok(wants);
        }
        let handed_out = session.last_resort(&self.filter, &self.refs(&wants)).await?;
        let handed_out = handed_out.into_iter().map(|(place, row)| (place, Outcome::Reserved(row)));
        Ok(self.settle_all(wants, handed_out.collect()))
    }

    fn refs(&self, wants: &[usize]) -> Vec<&Want> {
        wants.iter().map(|&want| &self.wants[want].want).collect()
    }

    /// Settles the wants that have an outcome, by their places, and returns the others.
    fn settle_all(&mut self, wants: Vec<usize>, outcomes: Vec<(usize, Outcome)>) -> Vec<usize> {
        let mut left: Vec<Option<usize>> = wants.into_iter().map(Some).collect();
        for (place, outcome) in outcomes {
            if let Some(want) = left[place].take() {
                self.settle(want, outcome);
            }
        }
        left.into_iter().flatten().collect()
    }

    fn settle(&mut self, want: usize, outcome: Outcome) {
        let PartWant { want: Want { device, .. }, part, .. } = &self.wants[want];
        let outcome = DeviceOutcome {
            user: device.user.clone(),
            device: Some(device.device.clone()),
            outcome,
        };
        self.outcomes.push((*part, outcome));
    }

    /// Charges each want to its holder's limits, and says what it may be given.
    fn within_limits(&mut self, wants: Vec<usize>) -> Allowed {
        let mut allowed = Allowed::default();
        for want in wants {
            match self.budget.charge(&self.wants[want].want) {
                Ok(Allowance::OneTime) => allowed.one_time.push(want),
                Ok(Allowance::LastResort) => allowed.last_resort.push(want),
                Err(limit) => allowed.nothing.push((want, limit)),
            }
        }
        allowed
    }
}

/// What wants may be given: one-time packages, the last resort only, or nothing.
#[derive(Default)]
struct Allowed {
    one_time: Vec<usize>,
    last_resort: Vec<usize>,
    nothing: Vec<(usize, Limit)>,
}

/// What a want may be given.
#[derive(Clone, Copy)]
enum Allowance {
    /// Any package.
    OneTime,
    /// Only the last resort: too many of the device's one-time packages went out lately.
    LastResort,
}

/// A device and a holder, whose live holds on it are counted.
type Pair = (DeviceKey, Holder);

fn pair(want: &Want) -> Pair {
    (want.device.clone(), want.holder.clone())
}

/// The live holds of a limited holder on a device.
struct Holds {
    most: u64,
    left: u64,
}

/// What limited holders may still be given of devices. Holders that it does not name are not limited.
struct Budget {
    limits: Arc<Limits>,
    now: Timestamp,
    holds: HashMap<Pair, Holds>,
}

impl Budget {
    fn new(limits: Arc<Limits>, now: Timestamp) -> Self {
        Self { limits, now, holds: HashMap::new() }
    }

    /// Counts the live holds of those who want something and are limited.
    async fn count(&mut self, session: &mut Session, wants: &[PartWant]) -> Result<(), StoreError> {
        for PartWant { want, max_holds, .. } in wants {
            if let Some(most) = max_holds.map(u64::from) {
                self.holds.insert(pair(want), Holds { most, left: most });
            }
        }
        let wants: Vec<&Want> = wants.iter().map(|want| &want.want).collect();
        for (pair, live) in self.live(session, &wants).await? {
            if let Some(holds) = self.holds.get_mut(&pair) {
                holds.left = holds.most.saturating_sub(live);
            }
        }
        Ok(())
    }

    /// By how many the takers have more live holds than they may.
    async fn excess(
        &self,
        session: &mut Session,
        takers: &[&Want],
    ) -> Result<HashMap<Pair, u64>, StoreError> {
        let live = self.live(session, takers).await?;
        let excess = |(pair, live): (Pair, u64)| {
            let most = self.holds.get(&pair)?.most;
            (live > most).then(|| (pair, live - most))
        };
        Ok(live.into_iter().filter_map(excess).collect())
    }

    /// How many live holds there are on the devices of those wants that are limited.
    async fn live(
        &self,
        session: &mut Session,
        wants: &[&Want],
    ) -> Result<Vec<(Pair, u64)>, StoreError> {
        if self.holds.is_empty() {
            return Ok(Vec::new());
        }
        let limited = wants.iter().filter(|want| self.holds.contains_key(&pair(want)));
        let mut devices: Vec<&DeviceKey> = limited.map(|want| &want.device).collect();
        devices.dedup();
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        let live = session.live_holds(&devices, self.now).await?;
        let named = |((device, holder), live): ((usize, Holder), u64)| {
            ((devices[device].clone(), holder), live)
        };
        Ok(live.into_iter().map(named).collect())
    }

    /// Charges one package to the limits of a want's holder, and says of which kind it may be.
    fn charge(&mut self, want: &Want) -> Result<Allowance, Limit> {
        if self.holds.is_empty() {
            return Ok(Allowance::OneTime);
        }
        let Some(holds) = self.holds.get_mut(&pair(want)) else { return Ok(Allowance::OneTime) };
        if holds.left == 0 {
            return Err(Limit::Holds);
        }
        self.limits.hand_out(&want.holder, &want.device, self.now)?;
        holds.left -= 1;
        match self.limits.one_time(&want.device, self.now) {
            Ok(()) => Ok(Allowance::OneTime),
            Err(_limit) => Ok(Allowance::LastResort),
        }
    }

    /// Takes a charge back: nothing was handed out for it.
    fn give_back(&mut self, want: &Want, allowance: Allowance) {
        let Some(holds) = self.holds.get_mut(&pair(want)) else { return };
        holds.left += 1;
        self.limits.not_handed_out(&want.holder, &want.device);
        if matches!(allowance, Allowance::OneTime) {
            self.limits.no_one_time(&want.device);
        }
    }

    /// Takes the charge for a one-time package back: the device had none.
    fn no_one_time(&self, want: &Want) {
        if self.holds.contains_key(&pair(want)) {
            self.limits.no_one_time(&want.device);
        }
    }
}
