//! Calls that are made word for word on several replicas: all at once, or on the next when one does not answer.

use super::{
    board::{Board, Pool},
    inviter::HOLDS,
    names,
    voice::{Deed, Voice},
    worker::Worker,
};
use crate::history::{Outcome, Reserve, Target};
use keypool_client::{Reservation, proto::v1::KeyPackageName};
use rand::Rng;
use std::time::Duration;
use tokio::{task::JoinSet, time::sleep};

/// How often a call is repeated elsewhere for want of an answer.
const TRIES: usize = 16;

/// How long a client waits before it repeats a call elsewhere.
const PAUSE: Duration = Duration::from_millis(100);

/// Where calls are made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    /// On all replicas at once.
    Everywhere,
    /// On one after the other, from the one of this number on, until one answers.
    ElsewhereThan(usize),
}

impl Worker {
    /// Reserves and goes on with that, each call word for word on several replicas.
    ///
    /// If it is about a device of the worker's own, nobody else reserves of it, and it has a single package: so any answer that
    /// says it has none is wrong.
    pub(super) async fn repeat_word_for_word(&mut self, repeats: Repeats, is_own: bool) {
        let board = self.board.clone();
        let own = is_own.then(|| self.next_own(&board));
        // What one of several tries of a reserve of all or nothing gives back is another's.
        let mut reserve = Reserve { require_all: false, ..self.new_reserve() };
        if let Some(own) = own {
            (reserve.targets, reserve.suites) = (vec![Target::Device(own.device)], vec![1]);
        }
        let again = Reserve { repeat: repeats != Repeats::Everywhere, ..reserve.clone() };
        let mut is_first = true;
        let tries = several(repeats, &self.each, |voice| {
            let reserve = if std::mem::take(&mut is_first) { &reserve } else { &again };
            let reserve = reserve.clone();
            async move { voice.reserve(&reserve).await }
        });
        let got: Vec<Reservation> = tries.await.into_iter().filter_map(|(_, got)| got).collect();
        // Tries on two replicas may have taken a package each: what one was answered with will do.
        let is_used = match got.first() {
            Some(reservation) => self.go_on_word_for_word(&reserve, reservation, repeats).await,
            None => true,
        };
        for reservation in got {
            reservation.keep();
        }
        if let Some(own) = own.filter(|_| is_used) {
            self.fill_up(own).await;
        }
    }

    /// Whether what was done may have used the packages up.
    async fn go_on_word_for_word(
        &mut self,
        reserve: &Reserve,
        reservation: &Reservation,
        repeats: Repeats,
    ) -> bool {
        let unspent = reservation.packages().iter().filter(|package| !package.spent);
        let names: Vec<KeyPackageName> = unspent.map(|package| package.name.clone()).collect();
        if names.is_empty() {
            return false;
        }
        let ttl = Duration::from_millis(self.random.random_range(HOLDS));
        let deeds: &[Deed] = match self.random.random_range(0..4) {
            0 => &[Deed::Extend(ttl), Deed::Spend],
            1 => &[Deed::Extend(ttl), Deed::Release],
            2 => &[Deed::Release],
            _ => &[Deed::Spend],
        };
        for deed in deeds {
            if *deed == Deed::Spend {
                self.habits.use_up(names.iter().filter_map(|name| Some(names::package(name)?.1)));
            }
            let saved = reservation.save();
            several(repeats, &self.each, |voice| {
                let reservation = voice.client.resume(saved.clone());
                let (reserve, names, deed) = (reserve.clone(), names.clone(), *deed);
                async move { (voice.hold(&reserve, deed, reservation, &names).await, ()) }
            })
            .await;
        }
        deeds.contains(&Deed::Spend)
    }

    /// The pool of its own whose turn it is.
    pub(super) fn next_own<'a>(&mut self, board: &'a Board) -> &'a Pool {
        let own = board.own(self.voice.caller.number);
        self.turn += 1;
        &own[self.turn % own.len()]
    }
}

/// Makes a call by each of these voices at once, or by one after the other until it is answered.
async fn several<T: Send + 'static, F>(
    repeats: Repeats,
    voices: &[Voice],
    mut call: impl FnMut(Voice) -> F,
) -> Vec<(Outcome, T)>
where
    F: Future<Output = (Outcome, T)> + Send + 'static,
{
    let first = match repeats {
        Repeats::Everywhere => {
            return voices.iter().cloned().map(call).collect::<JoinSet<_>>().join_all().await;
        }
        Repeats::ElsewhereThan(first) => first,
    };
    for voice in voices.iter().cycle().skip(first).take(TRIES) {
        let (outcome, value) = call(voice.clone()).await;
        if !outcome.is_unknown() {
            return vec![(outcome, value)];
        }
        sleep(PAUSE).await;
    }
    Vec::new()
}
