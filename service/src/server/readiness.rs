//! Whether the service is ready, told by gRPC health and on the admin address.

use crate::{
    admin::Readiness,
    clock::{Clock, MAX_SKEW},
    store::{SchemaState, Store},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

/// How often readiness is checked.
const READINESS_INTERVAL: Duration = Duration::from_millis(500);

/// How often it is checked whether the database is back.
const RETURN_INTERVAL: Duration = Duration::from_millis(100);

/// The names under which health is asked for: the whole server, and each service.
const HEALTH_NAMES: [&str; 3] = ["", "keypool.v1.KeyPackageService", "keypool.v1.AuditService"];

pub(super) async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        health.set_service_status(name, status).await;
    }
}

/// Keeps health and readiness true: the database answers, knows this schema, and has about the same time.
pub(super) async fn watch_readiness(
    store: Store,
    clock: Arc<dyn Clock>,
    readiness: watch::Sender<Readiness>,
    health: HealthReporter,
    drain: CancellationToken,
) {
    loop {
        let found = tokio::select! {
            found = not_ready(&store, &*clock) => found,
            () = drain.cancelled() => break,
        };
        if *readiness.borrow() != found {
            match found {
                None => tracing::info!("ready"),
                Some(reason) => tracing::warn!(reason, "not ready"),
            }
            readiness.send_replace(found);
            let status =
                if found.is_none() { ServingStatus::Serving } else { ServingStatus::NotServing };
            set_health(&health, status).await;
        }
        let pause = if found.is_none() { READINESS_INTERVAL } else { RETURN_INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = drain.cancelled() => break,
        }
    }
    readiness.send_replace(Some("stopping"));
}

async fn not_ready(store: &Store, clock: &dyn Clock) -> Readiness {
    match store.check(clock.now()).await {
        Ok(check) if check.clock_skew.abs() > MAX_SKEW => {
            Some("the clocks of service and database differ by more than 2 s")
        }
        Ok(check) if matches!(check.schema, SchemaState::Behind { .. }) => {
            Some("the database's schema is older than this version needs")
        }
        Ok(check) if matches!(check.schema, SchemaState::Ahead { .. }) => {
            Some("the database's schema is newer than this version knows")
        }
        Ok(_) => None,
        Err(_) => Some("the database does not answer"),
    }
}
