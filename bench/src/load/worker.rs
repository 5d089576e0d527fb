//! One call in flight, through the SDK.

use super::{
    counts::Counts,
    mix::{Mix, Operation},
};
use crate::{
    check::{Checker, Violation, end_of_hold},
    database::fill,
    drive::{CallError, Caller},
    subject::{REPEAT_ONE_IN, make_upload},
};
use keypool_client::{
    Client, Error, RejectionReason, Reservation, ReservedPackage, UploadOutcome, Uploaded,
};
use rand::{Rng, rngs::SmallRng};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Makes one call after another, as the mix says.
#[derive(Debug)]
pub(super) struct Worker {
    /// Its number.
    pub(super) number: usize,
    /// Its client.
    pub(super) client: Client,
    /// What it does.
    pub(super) mix: Mix,
    /// How the users' names begin.
    pub(super) prefix: Arc<str>,
    /// How many users there are.
    pub(super) users: u32,
    /// How long reserves hold.
    pub(super) ttl: Duration,
    /// What it chooses by.
    pub(super) random: SmallRng,
    /// What checks the answers.
    pub(super) checker: Arc<Checker>,
    /// What became of the calls.
    pub(super) counts: Arc<Counts>,
}

impl Caller for Worker {
    async fn call(&mut self) -> Result<Option<u64>, CallError> {
        let operation = self.mix.pick(&mut self.random);
        let user = fill::user(&self.prefix, self.random.random_range(1..=self.users));
        let result = match operation {
            Operation::Reserve => self.reserve(user).await,
            Operation::Spend => self.spend(user).await,
            Operation::Upload => self.upload(user).await,
        };
        result.map(|()| Some(1))
    }
}

impl Worker {
    /// Reserves a package and lets the hold lapse.
    async fn reserve(&mut self, user: String) -> Result<(), CallError> {
        let begun = Instant::now();
        let reserved = self.send(user).await;
        let Some(mut reservation) = self.noted(Operation::Reserve, begun, reserved)? else {
            return Ok(());
        };
        if self.random.random_ratio(1, REPEAT_ONE_IN) {
            self.repeat(&mut reservation).await?;
        }
        reservation.keep();
        Ok(())
    }

    /// Reserves a package and spends it.
    async fn spend(&mut self, user: String) -> Result<(), CallError> {
        let begun = Instant::now();
        let spent = async {
            let mut reservation = self.send(user).await?;
            reservation.spend().await.map(|()| reservation)
        };
        let spent = spent.await;
        if let Some(reservation) = self.noted(Operation::Spend, begun, spent)? {
            for package in reservation.packages().iter().filter(|package| !package.last_resort) {
                self.checker.spent(&package.name.key_package_ref, reservation.id());
            }
        }
        Ok(())
    }

    /// Uploads a package.
    async fn upload(&mut self, user: String) -> Result<(), CallError> {
        let upload = tokio::task::spawn_blocking(move || make_upload(user, 1))
            .await
            .map_err(|error| CallError::Failed(error.to_string()))?;
        let begun = Instant::now();
        let client = &self.client;
        let uploaded = client.upload(upload.user_id, upload.device_id, upload.key_packages).await;
        let outcome =
            |uploaded: Uploaded| uploaded.results.into_iter().next().map(|one| one.outcome);
        match uploaded.map(outcome) {
            Ok(Some(UploadOutcome::Rejected { reason: RejectionReason::PoolFull, .. })) => {
                self.counts.of(Operation::Upload).refused(self.number, begun.elapsed());
                Ok(())
            }
            Ok(Some(UploadOutcome::Rejected { message, .. })) => Err(CallError::Failed(message)),
            other => self.noted(Operation::Upload, begun, other).map(drop),
        }
    }

    /// Reserves, and tells the checker.
    async fn send(&mut self, user: String) -> Result<Reservation, Error> {
        let group: [u8; 16] = self.random.random();
        let reserve = self.client.reserve(group).device(user, fill::DEVICE).ttl(self.ttl);
        let reservation = reserve.send().await?;
        self.checker.holds(&reservation, self.ttl);
        Ok(reservation)
    }

    /// Repeats a reserve word for word. Once its hold has lapsed, another may have the package.
    async fn repeat(&self, reservation: &mut Reservation) -> Result<(), CallError> {
        let before = reservation.packages().to_vec();
        match reservation.ensure().await {
            Ok(()) => {}
            Err(error) if is_good_reason(&error) => return Ok(()),
            Err(error) => return Err(CallError::Failed(error.to_string())),
        }
        self.checker.holds(reservation, self.ttl);
        let lapsed = |(one, again): (&ReservedPackage, &ReservedPackage)| {
            let (end, again) = (end_of_hold(one), end_of_hold(again));
            end.zip(again).is_some_and(|(end, again)| again.before(self.ttl) >= end)
        };
        let pairs = || before.iter().zip(reservation.packages());
        if pairs().any(|pair| pair.0.name != pair.1.name && !lapsed(pair)) {
            self.checker.violated(Violation::RepeatDiffers, reservation.id());
        }
        Ok(())
    }

    /// Counts a call, and returns what it brought unless it was refused for a good reason.
    fn noted<T>(
        &self,
        operation: Operation,
        begun: Instant,
        result: Result<T, Error>,
    ) -> Result<Option<T>, CallError> {
        let count = self.counts.of(operation);
        match result {
            Ok(value) => {
                count.done(self.number, begun.elapsed());
                Ok(Some(value))
            }
            Err(error) if is_good_reason(&error) => {
                count.refused(self.number, begun.elapsed());
                Ok(None)
            }
            Err(error) => Err(CallError::Failed(error.to_string())),
        }
    }
}

/// Whether a service that keeps its promises may say so: what is in the pools is not known here.
fn is_good_reason(error: &Error) -> bool {
    matches!(
        error,
        Error::PoolExhausted(_)
            | Error::RateLimited(_)
            | Error::ReservationLost(_)
            | Error::KeyPackageAlreadySpent(_)
    )
}
