//! An inviter's side: reservations, and what is done with them.

use super::{
    choose::choose,
    names::{extended, held, hold},
    worker::Worker,
};
use crate::history::{Action, Call, Reserve, Target};
use keypool_client::{
    Reservation,
    proto::v1::{KeyPackageName, UnusableReason},
};
use rand::{Rng, rngs::SmallRng};
use std::time::Duration;
use tokio::time::Instant;

/// How long holds last, in milliseconds.
pub(super) const HOLDS: std::ops::RangeInclusive<u64> = 1000..=3000;

/// How long after a hold's end somebody may come who is late, in milliseconds.
const LATE: std::ops::Range<u64> = 0..1500;

/// A reservation with which something will be done.
#[derive(Debug)]
pub(super) struct Open {
    reserve: Reserve,
    /// Let go of when this is dropped, and never released without being written down.
    reservation: Option<Reservation>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            reservation.keep();
        }
    }
}

/// What is done with a reservation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    SpendAll,
    SpendOne,
    SpendAgain,
    Release,
    SetAside,
    Extend,
    Repeat,
    Abandon,
    ComeLate,
}

impl Step {
    pub(super) fn any(random: &mut SmallRng) -> Self {
        let choices = [
            (36, Self::SpendAll),
            (6, Self::SpendOne),
            (6, Self::SpendAgain),
            (12, Self::Release),
            (2, Self::SetAside),
            (10, Self::Extend),
            (12, Self::Repeat),
            (8, Self::Abandon),
            (10, Self::ComeLate),
        ];
        choose(random, &choices).unwrap_or(Self::SpendAll)
    }
}

impl Worker {
    /// A reserve that was never made.
    pub(super) fn new_reserve(&mut self) -> Reserve {
        let board = self.board.clone();
        let random = &mut self.random;
        let device = |random: &mut SmallRng| Target::Device(board.any(random).device);
        let targets = match random.random_range(0..10) {
            0..6 => vec![device(random)],
            6..8 => {
                let mut targets: Vec<Target> = Vec::new();
                for _ in 0..random.random_range(2..=4) {
                    let target = device(random);
                    if !targets.contains(&target) {
                        targets.push(target);
                    }
                }
                targets
            }
            _ => vec![Target::User(board.any(random).device.0)],
        };
        let suites = match random.random_range(0..10) {
            0..5 => vec![1],
            5 => vec![2],
            _ => Vec::new(),
        };
        // The shortest are the first to end while something waits.
        let is_short = random.random_ratio(1, 3);
        let ttl = if is_short { *HOLDS.start() } else { random.random_range(HOLDS) };
        Reserve {
            reservation: board.reservation(),
            targets,
            suites,
            ttl: Duration::from_millis(ttl),
            require_all: random.random_ratio(1, 5),
            repeat: false,
        }
    }

    /// Reserves, for the first time or again, and keeps what it brings.
    pub(super) async fn reserve(&mut self, reserve: Reserve) {
        let (outcome, reservation) = self.voice.reserve(&reserve).await;
        let reserve = Reserve { repeat: true, ..reserve };
        match reservation {
            Some(reservation) => self.open.push(Open { reserve, reservation: Some(reservation) }),
            None if outcome.is_unknown() && self.random.random_ratio(1, 2) => {
                self.unsure.push(reserve);
            }
            None => {}
        }
    }

    /// Goes on with a reservation.
    pub(super) async fn act(&mut self, mut open: Open, step: Step) {
        let Some(reservation) = &mut open.reservation else { return };
        let all = |reservation: &Reservation, with_spent: bool| -> Vec<KeyPackageName> {
            let packages = reservation.packages().iter();
            packages.filter(|one| with_spent || !one.spent).map(|one| one.name.clone()).collect()
        };
        match step {
            Step::SpendAll => {
                let names = all(reservation, true);
                self.spend(&open.reserve, reservation, &names).await;
            }
            Step::SpendOne => {
                let names = all(reservation, false);
                self.spend(&open.reserve, reservation, &names[..names.len().min(1)]).await;
                self.open.push(open);
            }
            Step::SpendAgain => {
                let names = all(reservation, true);
                if self.spend(&open.reserve, reservation, &names).await {
                    self.spend(&open.reserve, reservation, &names).await;
                }
            }
            Step::Release => {
                let names = all(reservation, false);
                let Some(reservation) = open.reservation.take() else { return };
                if names.is_empty() {
                    reservation.keep();
                    return;
                }
                let hold = hold(&open.reserve, Action::Release, &names);
                let releasing = async { held(reservation.release().await, &names) };
                self.voice.call(Call::Hold(hold), releasing).await;
            }
            Step::SetAside => {
                let names = all(reservation, false);
                let Some(name) = names.first() else { return };
                let names = [name.clone()];
                let hold = hold(&open.reserve, Action::SetAside, &names);
                self.habits.use_up(hold.packages.iter().map(|(_, package)| *package));
                let setting_aside = async {
                    let reason = UnusableReason::InvalidSignature;
                    held(reservation.release_unusable(name, reason).await, &names)
                };
                self.voice.call(Call::Hold(hold), setting_aside).await;
            }
            Step::Extend => {
                let names = all(reservation, false);
                if names.is_empty() {
                    return;
                }
                let ttl = Duration::from_millis(self.random.random_range(HOLDS));
                let hold = hold(&open.reserve, Action::Extend(ttl), &names);
                let extending = async { extended(reservation.extend(ttl).await, &names) };
                self.voice.call(Call::Hold(hold), extending).await;
                self.open.push(open);
            }
            Step::Repeat => {
                let reserve = open.reserve.clone();
                drop(open);
                self.reserve(reserve).await;
            }
            Step::Abandon => {}
            Step::ComeLate => {
                let late = Duration::from_millis(self.random.random_range(LATE));
                self.late.push((Instant::now() + open.reserve.ttl + late, open));
            }
        }
    }

    async fn spend(
        &self,
        reserve: &Reserve,
        reservation: &mut Reservation,
        names: &[KeyPackageName],
    ) -> bool {
        if names.is_empty() {
            return false;
        }
        let hold = hold(reserve, Action::Spend, names);
        self.habits.use_up(hold.packages.iter().map(|(_, package)| *package));
        let spending = async { held(reservation.spend_packages(names).await, names) };
        let (outcome, ()) = self.voice.call(Call::Hold(hold), spending).await;
        outcome.is_ok()
    }
}
