//! Whether the service is ready, as gRPC health, `/readyz` and metrics tell it.

use crate::{supervise::TaskName, telemetry::catalogue::READY};
use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

/// The names under which health is asked for: the whole server, and each service.
const HEALTH_NAMES: [&str; 3] = ["", "keypool.v1.KeyPackageService", "keypool.v1.AuditService"];

/// How the service is, as far as its checks know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// No check has ended yet.
    Starting,
    /// It serves.
    Ready,
    /// It does not serve for now, and why.
    NotReady(String),
    /// It was told to stop. It stays so.
    Stopping,
}

/// Tells how the service is. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Teller(watch::Sender<State>);

impl Teller {
    /// It starts.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(State::Starting))
    }

    /// Tells how it is now, unless it is stopping.
    pub(super) fn tell(&self, now: State) {
        self.0.send_if_modified(|state| {
            let changes = *state != State::Stopping && *state != now;
            if changes {
                *state = now;
            }
            changes
        });
    }

    /// How it is from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }
}

/// Whether the service is ready: its checks say so, and no task has ended that must not.
#[derive(Debug, Clone)]
pub struct Readiness {
    state: watch::Receiver<State>,
    ended: watch::Receiver<Option<TaskName>>,
}

impl Readiness {
    pub(super) fn new(
        state: watch::Receiver<State>,
        ended: watch::Receiver<Option<TaskName>>,
    ) -> Self {
        Self { state, ended }
    }

    /// Why the service is not ready; none if it is.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        if let Some(task) = &*self.ended.borrow() {
            return Some(format!("a task of the service has ended: {task}"));
        }
        match &*self.state.borrow() {
            State::Ready => None,
            State::Starting => Some("starting".to_owned()),
            State::NotReady(reason) => Some(reason.clone()),
            State::Stopping => Some("stopping".to_owned()),
        }
    }

    /// Waits until it may have changed. Fails once it never will.
    async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        tokio::select! {
            changed = self.state.changed() => changed,
            changed = self.ended.changed() => changed,
        }
    }
}

/// Keeps gRPC health and the metric true, for as long as the service lives.
pub(super) async fn show(mut readiness: Readiness, health: HealthReporter) {
    loop {
        let is_ready = readiness.obstacle().is_none();
        READY.with([]).set(f64::from(u8::from(is_ready)));
        set_health(&health, is_ready).await;
        if readiness.changed().await.is_err() {
            return;
        }
    }
}

/// Tells by gRPC health whether the service is ready.
pub(super) async fn set_health(health: &HealthReporter, is_ready: bool) {
    let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in HEALTH_NAMES {
        health.set_service_status(name, status).await;
    }
}
