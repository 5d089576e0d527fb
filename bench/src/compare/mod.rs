//! keypool beside what it could be: several rounds in alternating order on one PostgreSQL.

mod memory;
mod pace;
mod report;
mod setup;
mod slot;
pub(crate) mod targets;

use crate::{
    cli::CompareOptions,
    drive::Measured,
    error::{Error, Outcome},
    report::{plot, print_json, table},
};
use memory::Memory;
use pace::Pacer;
use report::Comparison;
use setup::Setup;
use slot::{Slot, order, plan};
use std::{collections::BTreeMap, time::Instant};

/// All measurements of each slot.
type Results = BTreeMap<Slot, Vec<Measured>>;

/// The calls in flight that `--quick` measures at.
const QUICK: [u32; 2] = [1, 256];

/// How many packages are stored, unless it was said.
const PACKAGES: u32 = 1_000_000;
/// The same with `--quick`.
const QUICK_PACKAGES: u32 = 320_000;

/// Runs `compare`.
pub(crate) async fn run(options: CompareOptions) -> Result<Outcome, Error> {
    let begun = Instant::now();
    let full = !options.quick;
    let mut levels = if full { options.in_flight.clone() } else { QUICK.to_vec() };
    levels.sort_unstable();
    levels.dedup();
    let packages = options.packages.unwrap_or(if full { PACKAGES } else { QUICK_PACKAGES });
    let setup = Box::pin(Setup::start(&options.bench, packages, full)).await?;
    eprintln!("{packages} packages are stored after {:.1} s", begun.elapsed().as_secs_f64());

    let slots = plan(&levels, full);
    let pacer = if full {
        Pacer::fixed(options.window)
    } else {
        Pacer::within(begun + options.within, begun.elapsed(), options.rounds, slots.len())
    };
    let results = rounds(&setup, &slots, options.rounds, pacer).await?;
    let memory = match full {
        true => Some(Box::pin(Memory::look(&setup, &levels, options.window)).await?),
        false => None,
    };
    let outcome = setup.rig.verdict().await?;
    let comparison = Comparison::new(&results, &setup, memory, begun.elapsed());
    setup.stop().await?;

    let table = table(&comparison.rows());
    if options.bench.run.json {
        eprintln!("{table}{}", comparison.verdicts());
        print_json(&comparison)?;
    } else {
        println!("{table}{}", comparison.verdicts());
    }
    if let Some(file) = &options.plot {
        plot(&comparison.curves(), file)?;
    }
    Ok(outcome)
}

/// Measures every slot in each round, as long as there is time.
async fn rounds(
    setup: &Setup,
    slots: &[Slot],
    rounds: u32,
    mut pacer: Pacer,
) -> Result<Results, Error> {
    let mut results = Results::new();
    for round in 0..rounds {
        for slot in order(slots, round) {
            let Some(window) = pacer.window(round == 0) else {
                eprintln!("no time is left for the rest of round {}", round + 1);
                return Ok(results);
            };
            let begun = Instant::now();
            let measured = Box::pin(setup.measure(slot, round, window)).await?;
            pacer.took(begun.elapsed(), window);
            eprintln!(
                "round {} of {rounds}: {:<48} {:>9.0}/s  p50 {:>8.2} ms  p99 {:>8.2} ms",
                round + 1,
                slot.to_string(),
                measured.per_second(),
                measured.p50_ms,
                measured.p99_ms
            );
            results.entry(slot).or_default().push(measured);
        }
    }
    Ok(results)
}
