//! Waits for the database, and then looks at it again and again: is the service ready?

use super::{
    ServerError,
    database::{Access, require_known_schema},
    readiness::{State, Teller},
};
use crate::{
    causes::causes,
    clock::MAX_SKEW,
    store::{Fault, Store, requirements::why_away},
    telemetry::catalogue::{
        CLOCK_SKEW, DATABASE_AVAILABLE, DATABASE_CONNECTIONS, DATABASE_WAITING,
    },
};
use std::{future::pending, time::Duration};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How often a database that serves is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// How often it is tried whether the database is back.
const RETURN_INTERVAL: Duration = Duration::from_millis(100);

/// What it takes to look at the database.
pub(super) struct Checks {
    pub(super) access: Access,
    /// Shut until the database was found fit.
    pub(super) store: Store,
    /// Whether an older schema is migrated.
    pub(super) migrate: bool,
    pub(super) teller: Teller,
    /// Is told why the service can't run on the database it found.
    pub(super) unfit: oneshot::Sender<ServerError>,
    pub(super) drain: CancellationToken,
}

/// Why the service is not ready.
#[derive(Debug)]
struct Obstacle {
    /// In words for anybody.
    reason: String,
    /// In words for the log: the cause, or what to change.
    more: Option<String>,
}

impl Obstacle {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), more: None }
    }

    /// The database has it.
    fn fault(fault: &Fault) -> Self {
        Self { reason: fault.to_string(), more: Some(fault.advice().to_owned()) }
    }

    fn state(&self) -> State {
        State::NotReady(self.reason.clone())
    }

    /// The database can't be asked.
    fn away(error: &(dyn std::error::Error + 'static)) -> Self {
        Self { reason: why_away(error), more: Some(causes(error)) }
    }
}

impl Checks {
    /// Looks at the database until the service drains. Nothing but its own check asks it anything before it was found fit.
    pub(super) async fn run(self) {
        let drain = self.drain.clone();
        tokio::select! {
            () = self.look_again_and_again() => {}
            () = drain.cancelled() => {}
        }
    }

    async fn look_again_and_again(self) {
        let mut is_admitted = false;
        let mut last = State::Starting;
        loop {
            let obstacle = if is_admitted {
                self.look().await
            } else {
                match self.admit().await {
                    Ok(()) => {
                        is_admitted = true;
                        self.store.open();
                        self.look().await
                    }
                    Err(error) if error.may_pass() => {
                        let fault = error.fault();
                        DATABASE_AVAILABLE.with([]).set(f64::from(u8::from(fault.is_some())));
                        Some(match fault {
                            Some(fault) => Obstacle::fault(fault),
                            None => Obstacle::away(&error),
                        })
                    }
                    Err(error) => {
                        let _nobody_waits = self.unfit.send(error);
                        return pending().await;
                    }
                }
            };
            show_connections(&self.store);
            let pause = if obstacle.is_none() { INTERVAL } else { RETURN_INTERVAL };
            let state = obstacle.as_ref().map_or(State::Ready, Obstacle::state);
            if state != last {
                match obstacle {
                    None => tracing::info!("ready"),
                    Some(Obstacle { reason, more }) => tracing::warn!(reason, more, "not ready"),
                }
            }
            self.teller.tell(state.clone());
            last = state;
            tokio::time::sleep(pause).await;
        }
    }

    /// Makes sure that the database is one to serve on, and has the schema.
    async fn admit(&self) -> Result<(), ServerError> {
        if self.migrate {
            self.access.migrate().await?;
        } else {
            self.access.inspect().await?;
        }
        require_known_schema(&self.store).await
    }

    async fn look(&self) -> Option<Obstacle> {
        let check = self.store.check().await;
        DATABASE_AVAILABLE.with([]).set(f64::from(u8::from(check.is_ok())));
        let check = match check {
            Ok(check) => check,
            Err(error) => return Some(Obstacle::away(&error)),
        };
        CLOCK_SKEW.with([]).set(check.clock_skew.as_secs_f64());
        if let Some(fault) = check.faults.first() {
            return Some(Obstacle::fault(fault));
        }
        if check.clock_skew.abs() > MAX_SKEW {
            return Some(Obstacle::new(
                "the clocks of service and database differ by more than 2 s",
            ));
        }
        let schema = check.schema;
        let unserved = schema.unserved()?;
        Some(Obstacle { reason: unserved.to_owned(), more: Some(schema.to_string()) })
    }
}

fn show_connections(store: &Store) {
    let connections = store.connections();
    #[expect(clippy::cast_precision_loss, reason = "a few connections")]
    let number = |count: usize| count as f64;
    DATABASE_CONNECTIONS.with(["idle"]).set(number(connections.idle));
    DATABASE_CONNECTIONS.with(["busy"]).set(number(connections.busy));
    DATABASE_WAITING.with([]).set(number(connections.waiting));
}
