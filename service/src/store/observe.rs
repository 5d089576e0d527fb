//! Statements, timed and traced by name.

use super::StoreError;
use crate::telemetry::catalogue::{STATEMENT_DURATION, STATEMENT_FAILURES};
use std::{future::Future, time::Instant};
use tracing::{Instrument, field};

/// A statement that is being run.
pub(super) struct Observed {
    statement: &'static str,
    began: Instant,
}

impl Observed {
    pub(super) fn begin(sql: &'static str) -> Self {
        Self { statement: name(sql), began: Instant::now() }
    }

    /// Waits for the statement's result.
    pub(super) async fn end<T>(
        self,
        result: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let span = tracing::debug_span!(
            "statement",
            otel.name = self.statement,
            otel.kind = "client",
            otel.status_code = field::Empty,
            db.system.name = "postgresql",
            db.operation.name = self.statement,
            error.r#type = field::Empty,
        );
        let result = result.instrument(span.clone()).await;
        STATEMENT_DURATION.with([self.statement]).record(self.began.elapsed());
        if let Err(error) = &result {
            STATEMENT_FAILURES.count([self.statement, error.label()]);
            span.record("otel.status_code", "ERROR").record("error.type", error.label());
        }
        result
    }
}

/// The name in the comment that a statement begins with.
fn name(sql: &'static str) -> &'static str {
    let named = sql.strip_prefix("/* keypool: ").and_then(|rest| rest.split_once(" */"));
    named.map_or("unnamed", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_by_its_comment() {
        assert_eq!(name("/* keypool: take */\nSELECT 1"), "take");
        assert_eq!(name("SELECT 1"), "unnamed");
    }
}
