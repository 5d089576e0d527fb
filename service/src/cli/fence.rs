//! `keypool fence`: what an operator does about a database that went back.

use super::{CliError, print, with_store};
use crate::{config::Config, fence::FenceGuard, store::FenceRow};
use clap::Subcommand;
use std::io::{self, Write};

/// What to do about fences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Subcommand)]
pub(super) enum Action {
    /// Quarantine the one-time packages that are there, each until its device has reconciled. This is the default
    #[default]
    Raise,
    /// Lift every fence: the database has forgotten nothing, as after a planned move to another cluster
    Lift,
    /// List the fences, the newest first
    List,
}

/// Does it, and prints the fences afterwards.
pub(super) async fn run(config: &Config, action: Action, json: bool) -> Result<(), CliError> {
    let fences = with_store(config, async |store| {
        if action != Action::List {
            // Notes the history that the database has by now, which the next service would raise a fence for.
            let guard = FenceGuard::new(store.clock().clone(), config.synchronous_standbys);
            guard.admit(&mut store.session().await?).await?;
        }
        let now = store.clock().now();
        match action {
            Action::Raise => store.raise_fence_by_hand(now).await?,
            Action::Lift => store.lift_fences(now).await?,
            Action::List => {}
        }
        Ok(store.list_fences().await?)
    })
    .await?;
    if json { print(&fences, true) } else { Ok(table(&fences)?) }
}

fn table(fences: &[FenceRow]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if fences.is_empty() {
        return writeln!(out, "no fence was ever raised");
    }
    for fence in fences {
        let FenceRow { number, cause, raised_at, lifted_at } = fence;
        let state = match lifted_at {
            None => "up".to_owned(),
            Some(lifted_at) => format!("lifted at {lifted_at:.0}"),
        };
        writeln!(out, "fence {number:<4} {cause:<15} raised at {raised_at:.0}, {state}")?;
    }
    Ok(())
}
