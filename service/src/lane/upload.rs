//! Stores uploaded packages.

use super::{LaneRules, Work};
use crate::{
    pool::validation::ValidKeyPackage,
    store::{DeviceKey, Session, StoreError, StoredOutcome, UploadItem, UploadTerms},
    types::KeyPackageRef,
};
use std::{collections::HashSet, sync::Arc};

/// Valid packages of a device, no two of which have the same ref or the same init key.
#[derive(Debug, Clone)]
pub struct UploadCall {
    /// Whose packages.
    pub device: DeviceKey,
    /// The packages.
    pub packages: Vec<Arc<ValidKeyPackage>>,
}

/// Executes [`UploadCall`]s.
pub(super) struct Upload {
    rules: LaneRules,
}

impl Upload {
    pub(super) fn new(rules: LaneRules) -> Self {
        Self { rules }
    }
}

impl Work for Upload {
    const NAME: &'static str = "upload";
    const GIVES_BACK: bool = false;
    type Item = UploadCall;
    type Reply = Vec<StoredOutcome>;

    fn weight(call: &UploadCall) -> usize {
        call.packages.len()
    }

    async fn run(
        &self,
        session: &mut Session,
        calls: &[&UploadCall],
    ) -> Result<Vec<Vec<StoredOutcome>>, StoreError> {
        let mut replies = vec![Vec::new(); calls.len()];
        for round in rounds(calls) {
            let items: Vec<UploadItem> = round
                .iter()
                .flat_map(|&call| {
                    let UploadCall { device, packages } = calls[call];
                    packages.iter().map(|package| UploadItem {
                        device: device.clone(),
                        package: package.clone(),
                    })
                })
                .collect();
            let now = self.rules.clock.now();
            let terms = UploadTerms {
                cap: self.rules.cap,
                max_bytes_per_user: self.rules.max_bytes_per_user,
                max_devices: self.rules.max_devices,
                devices_since: now - self.rules.max_lifetime,
                now,
                min_not_after: now + self.rules.min_remaining,
            };
            let outcomes = session.upload(&items, terms).await?;
            let mut outcomes = outcomes.into_iter();
            for call in round {
                replies[call] = outcomes.by_ref().take(calls[call].packages.len()).collect();
            }
        }
        Ok(replies)
    }
}

/// Distributes calls so that no two packages of a round have the same ref or the same init key.
fn rounds(calls: &[&UploadCall]) -> Vec<Vec<usize>> {
    #[derive(Default)]
    struct Round<'a> {
        calls: Vec<usize>,
        refs: HashSet<&'a KeyPackageRef>,
        init_keys: HashSet<&'a [u8]>,
    }
    let mut rounds: Vec<Round<'_>> = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        let fits = |round: &Round<'_>| {
            call.packages.iter().all(|package| {
                !round.refs.contains(&package.reference)
                    && !round.init_keys.contains(package.init_key.as_slice())
            })
        };
        let place = rounds.iter().position(fits).unwrap_or_else(|| {
            rounds.push(Round::default());
            rounds.len() - 1
        });
        let round = &mut rounds[place];
        round.calls.push(number);
        round.refs.extend(call.packages.iter().map(|package| &package.reference));
        round.init_keys.extend(call.packages.iter().map(|package| package.init_key.as_slice()));
    }
    rounds.into_iter().map(|round| round.calls).collect()
}
