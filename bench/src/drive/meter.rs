//! What a measurement uses up: CPU time and WAL.

use super::usage::{cpu_seconds, cpu_seconds_of_tree};
use crate::error::Error;
use std::process;
use tokio_postgres::Client;

/// Where to read. What is not named is not read.
#[derive(Debug, Default, Clone)]
pub(crate) struct Meter<'a> {
    /// The services.
    pub(crate) services: Vec<u32>,
    /// The main process of PostgreSQL.
    pub(crate) database: Option<u32>,
    /// A connection to ask how much WAL there is.
    pub(crate) wal: Option<&'a Client>,
}

/// What was used up until some moment, or between two.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    /// CPU seconds of the services.
    pub(crate) service_cpu: Option<f64>,
    /// CPU seconds of PostgreSQL, all its processes together.
    pub(crate) database_cpu: Option<f64>,
    /// CPU seconds of this process, which generates the load.
    pub(crate) load_cpu: Option<f64>,
    /// Bytes of WAL.
    pub(crate) wal_bytes: Option<f64>,
}

impl Meter<'_> {
    /// Reads what was used up until now.
    pub(super) async fn read(&self) -> Result<Used, Error> {
        let wal_bytes = match self.wal {
            Some(client) => {
                let position = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8";
                Some(client.query_one(position, &[]).await?.try_get(0)?)
            }
            None => None,
        };
        let services: Option<Vec<f64>> =
            self.services.iter().map(|pid| cpu_seconds(*pid)).collect();
        Ok(Used {
            service_cpu: services.filter(|all| !all.is_empty()).map(|all| all.iter().sum()),
            database_cpu: self.database.and_then(cpu_seconds_of_tree),
            load_cpu: cpu_seconds(process::id()),
            wal_bytes,
        })
    }
}

impl Used {
    /// What was used up since an earlier moment.
    pub(super) fn since(&self, before: &Self) -> Self {
        let less = |now: Option<f64>, before: Option<f64>| Some((now? - before?).max(0.0));
        Self {
            service_cpu: less(self.service_cpu, before.service_cpu),
            database_cpu: less(self.database_cpu, before.database_cpu),
            load_cpu: less(self.load_cpu, before.load_cpu),
            wal_bytes: less(self.wal_bytes, before.wal_bytes),
        }
    }
}
