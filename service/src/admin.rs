//! The second, plain HTTP address: is it alive, is it ready, what does it count.

use crate::{
    server::Readiness,
    telemetry::{Description, begin_rare, catalogue},
};
use axum::{Router, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{sync::OnceLock, time::Duration};

/// Upper bounds of the buckets of durations, in seconds.
const SECONDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Upper bounds of the buckets of batch sizes.
const PACKAGES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// How often samples are moved into their buckets. Until then each takes memory, scraped or not.
const UPKEEP: Duration = Duration::from_secs(5);

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route(
            "/readyz",
            get(async move || match readiness.obstacle() {
                None => (StatusCode::OK, "ok\n".to_owned()),
                Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
            }),
        )
        .route(
            "/metrics",
            get(async || recorder().map(PrometheusHandle::render).unwrap_or_default()),
        )
}

/// The process's recorder of metrics, installed on first use.
pub fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
                .and_then(|builder| {
                    let packages = Matcher::Suffix("_packages".to_owned());
                    builder.set_buckets_for_metric(packages, &PACKAGES)
                })
                .and_then(PrometheusBuilder::install_recorder)
                .inspect(|_recorder| {
                    catalogue::ALL.iter().for_each(Description::tell);
                    begin_rare();
                })
                .inspect_err(|error| tracing::warn!(%error, "metrics are off"))
                .ok()
        })
        .as_ref()
}

/// Keeps the metrics' memory small, for ever.
pub async fn upkeep() {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        if let Some(recorder) = recorder() {
            recorder.run_upkeep();
        }
    }
}
