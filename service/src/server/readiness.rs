//! Whether the service is ready, told by gRPC health and on the admin address.

use crate::{
    admin::Readiness,
    clock::{Clock, MAX_SKEW},
    store::{SchemaState, Store},
    telemetry::catalogue::{
        CLOCK_SKEW, DATABASE_AVAILABLE, DATABASE_CONNECTIONS, DATABASE_WAITING, READY,
    },
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
        READY.with([]).set(f64::from(u8::from(found.is_none())));
        show_connections(&store);
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
    READY.with([]).set(0.0);
    readiness.send_replace(Some("stopping"));
}

fn show_connections(store: &Store) {
    let connections = store.connections();
    #[expect(clippy::cast_precision_loss, reason = "a few connections")]
    let number = |count: usize| count as f64;
    DATABASE_CONNECTIONS.with(["idle"]).set(number(connections.idle));
    DATABASE_CONNECTIONS.with(["busy"]).set(number(connections.busy));
    DATABASE_WAITING.with([]).set(number(connections.waiting));
}

async fn not_ready(store: &Store, clock: &dyn Clock) -> Readiness {
    let check = store.check(clock.now()).await;
    DATABASE_AVAILABLE.with([]).set(f64::from(u8::from(check.is_ok())));
    if let Ok(check) = &check {
        CLOCK_SKEW.with([]).set(check.clock_skew.as_secs_f64());
    }
    match check {
        Ok(check) if check.is_standby => Some("the database is a standby: nothing can be written"),
        Ok(check) if check.clock_skew.abs() > MAX_SKEW => {
            Some("the clocks of service and database differ by more than 2 s")
        }
        Ok(check) if matches!(check.schema, SchemaState::Behind { .. }) => {
            Some("the database's schema is older than this version needs")
        }
        Ok(check) if matches!(check.schema, SchemaState::Ahead { .. }) => {
            Some("the database's schema is newer than this version knows")
        }
        Ok(check) if check.lost_setting.is_some() => Some(
            "sessions lose settings that promises rest on, as behind a pooler: set them for the database",
        ),
        Ok(_) => None,
        Err(_) => Some("the database does not answer"),
    }
}
