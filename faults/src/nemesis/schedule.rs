//! When which fault comes.

use super::{Rig, Suffered};
use crate::{
    error::Error,
    history::{Fault, Kind, Micros},
};
use rand::{Rng, seq::SliceRandom};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long there is peace before most faults, in milliseconds.
const PEACE: std::ops::Range<u64> = 300..1200;

/// How long there is peace before one fault in [`CALM_ONE_IN`], in milliseconds. Some of what the checker decides is certain then
/// only: for three seconds calls may still suffer from the fault, for three more the last of them may have an effect, and what
/// they hold then lasts for three.
const CALM: std::ops::Range<u64> = 9200..10_700;

/// One peace in so many is a long one.
const CALM_ONE_IN: usize = 4;

/// How long clients go on after the last fault, at least: all must be well again.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// Lets the rig suffer faults of these kinds until the end, each as often as the others and at least once, and notes them. All
/// are healed, unless this fails: then the last is not.
pub(crate) async fn run(
    rig: &mut Rig,
    kinds: &[Kind],
    end: Instant,
    faults: &mut Vec<Fault>,
) -> Result<(), Error> {
    let mut order: Vec<Kind> = Vec::new();
    loop {
        let peace = peace(rig, faults.len(), end);
        if faults.len() >= kinds.len() && Instant::now() + peace >= end {
            let left = end.saturating_duration_since(Instant::now());
            sleep(left.max(AFTERWARDS)).await;
            return rig.make_sure_all_live().await;
        }
        sleep(peace).await;
        rig.make_sure_all_live().await?;
        if order.is_empty() {
            order = kinds.to_vec();
            order.shuffle(&mut rig.random);
        }
        let Some(kind) = order.pop() else { continue };
        let from = Micros::now();
        let suffered = rig.suffer(kind).await;
        let to = Micros::now();
        let fault = match &suffered {
            Ok(Suffered { what, went_back }) => {
                Fault { kind, what: what.clone(), from, to, went_back: *went_back, failed: false }
            }
            // It may have gone so far.
            Err(error) => {
                let went_back = (kind == Kind::Restored).then_some(from);
                Fault { kind, what: error.to_string(), from, to, went_back, failed: true }
            }
        };
        let seconds = fault.to.since(fault.from).as_secs_f64();
        eprintln!("{:>22}  {seconds:>6.1} s  {}", kind.name(), fault.what);
        faults.push(fault);
        suffered?;
        rig.make_sure_all_live().await?;
    }
}

/// How long there is peace before the fault of this number. Not long where that would be longer than the run.
fn peace(rig: &mut Rig, number: usize, end: Instant) -> Duration {
    let mut within = |range| Duration::from_millis(rig.random.random_range(range));
    if (number + 1).is_multiple_of(CALM_ONE_IN) {
        let calm = within(CALM);
        if Instant::now() + calm < end {
            return calm;
        }
    }
    within(PEACE)
}
