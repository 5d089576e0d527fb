//! One client, which makes one call after another.

use super::{
    board::Board,
    choose::choose,
    habits::{Habit, Habits},
    inviter::{Open, Step},
    repeats::Repeats,
    voice::Voice,
};
use crate::history::Reserve;
use rand::{Rng, rngs::SmallRng};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How long it thinks before a call, at most.
const THOUGHT: u64 = 60;

/// How many clients go on while the others do nothing.
const FEW: u32 = 4;

/// How many reservations it has open at the same time.
const OPEN: usize = 3;

/// One client.
#[derive(Debug)]
pub(super) struct Worker {
    /// What it calls by.
    pub(super) voice: Voice,
    /// What it calls each replica by, with no retries.
    pub(super) each: Vec<Voice>,
    /// What it chooses by.
    pub(super) random: SmallRng,
    /// What all know.
    pub(super) board: Arc<Board>,
    /// Whose turn it is of its own pools.
    pub(super) turn: usize,
    /// What faults ask of it.
    pub(super) habits: Arc<Habits>,
    /// Reservations with which something will be done.
    pub(super) open: Vec<Open>,
    /// Reservations that will be spent when their holds have lapsed.
    pub(super) late: Vec<(Instant, Open)>,
    /// Reserves of which nobody knows what came: to be made again.
    pub(super) unsure: Vec<Reserve>,
}

/// What to do next.
#[derive(Debug, Clone, Copy)]
enum Next {
    Reserve,
    GoOn,
    Upload,
    Revoke,
    Reconcile,
    Status,
}

impl Worker {
    pub(super) fn new(
        voice: Voice,
        each: Vec<Voice>,
        random: SmallRng,
        board: Arc<Board>,
        habits: Arc<Habits>,
    ) -> Self {
        let (open, late, unsure) = (Vec::new(), Vec::new(), Vec::new());
        Self { voice, each, random, board, turn: 0, habits, open, late, unsure }
    }

    /// Fills the pools of these numbers.
    pub(super) async fn fill(mut self, pools: Vec<usize>) -> Self {
        for number in pools {
            let board = self.board.clone();
            self.fill_up(board.pool(number)).await;
        }
        let board = self.board.clone();
        for pool in board.own(self.voice.caller.number) {
            self.fill_up(pool).await;
        }
        self
    }

    /// Works until it is enough.
    pub(super) async fn run(mut self, enough: CancellationToken) {
        while !enough.is_cancelled() {
            let thought = Duration::from_millis(self.random.random_range(0..THOUGHT));
            tokio::select! {
                () = sleep(thought) => self.step().await,
                () = enough.cancelled() => {}
            }
        }
    }

    async fn step(&mut self) {
        let now = Instant::now();
        if let Some(due) = self.late.iter().position(|(when, _)| *when <= now) {
            let (_, open) = self.late.swap_remove(due);
            return self.act(open, Step::SpendAll).await;
        }
        match self.habits.now() {
            Habit::Usual => {}
            Habit::Everywhere => {
                if self.random.random_ratio(1, 2) {
                    let own = self.random.random_ratio(1, 2);
                    return self.repeat_word_for_word(Repeats::Everywhere, own).await;
                }
            }
            Habit::Elsewhere => {
                if self.random.random_ratio(1, 2) {
                    let first = self.random.random_range(0..self.each.len());
                    let own = self.random.random_ratio(1, 2);
                    return self.repeat_word_for_word(Repeats::ElsewhereThan(first), own).await;
                }
            }
            Habit::StartOver(replica) => {
                if self.random.random_ratio(1, 3) {
                    return self.start_over(replica).await;
                }
            }
            Habit::FewElsewhere(first) if self.voice.caller.number < FEW => {
                return self.repeat_word_for_word(Repeats::ElsewhereThan(first), true).await;
            }
            Habit::FewElsewhere(_) | Habit::Rest => return,
        }
        if let Some(reserve) = self.unsure.pop() {
            return self.reserve(reserve).await;
        }
        let choices = [
            (45, Next::Reserve),
            (35, Next::GoOn),
            (14, Next::Upload),
            (2, Next::Revoke),
            (1, Next::Reconcile),
            (4, Next::Status),
        ];
        match choose(&mut self.random, &choices) {
            Some(Next::Reserve) if self.open.len() < OPEN => {
                let reserve = self.new_reserve();
                self.reserve(reserve).await;
            }
            Some(Next::Upload) => self.upload().await,
            Some(Next::Revoke) => self.revoke().await,
            Some(Next::Reconcile) => self.reconcile().await,
            Some(Next::Status) => self.status().await,
            Some(Next::Reserve | Next::GoOn) | None => {
                if !self.open.is_empty() {
                    let place = self.random.random_range(0..self.open.len());
                    let open = self.open.swap_remove(place);
                    let step = Step::any(&mut self.random);
                    self.act(open, step).await;
                }
            }
        }
    }
}
