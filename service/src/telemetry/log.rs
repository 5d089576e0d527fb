//! The log, on standard error.

use crate::config::LogFormat;
use std::io::{self, IsTerminal};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterFn, filter_fn},
    fmt::{self, format::JsonFields},
    registry::LookupSpan,
};

/// What `KEYPOOL_LOG` asks for, in the syntax of [`EnvFilter`], by default what is INFO or weightier.
pub(super) fn asked_for() -> EnvFilter {
    EnvFilter::try_from_env("KEYPOOL_LOG").unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Below INFO only this project's own targets are ever written, whatever is asked for: there, other crates show what they
/// handle, as the driver of PostgreSQL does with the parameters of statements.
pub(super) fn harmless() -> FilterFn {
    filter_fn(may_be_written)
}

/// Writes lines, unfiltered.
pub(super) fn lines<S>(format: LogFormat) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let json = match format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = fmt::layer().with_writer(io::stderr);
    if json {
        lines.json().with_span_list(false).fmt_fields(JsonFields::new()).boxed()
    } else {
        lines.with_ansi(io::stderr().is_terminal()).boxed()
    }
}

fn may_be_written(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || is_own(metadata.target())
}

/// Whether a target is a module of this project's.
pub(super) fn is_own(target: &str) -> bool {
    let root = target.split("::").next().unwrap_or_default();
    root == "keypool" || root.starts_with("keypool_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_targets_are_those_of_this_project() {
        for own in ["keypool", "keypool_service", "keypool_service::lane::worker", module_path!()] {
            assert!(is_own(own), "{own}");
        }
        for foreign in ["", "h2", "tokio_postgres::query", "keypools", "log", "h2::keypool"] {
            assert!(!is_own(foreign), "{foreign}");
        }
    }
}
