//! Who is in the way of a migration.

use super::{StoreError, get};
use std::{convert::Infallible, fmt, future::pending, time::Duration};
use tokio::time::sleep;
use tokio_postgres::{Client, Row};

/// How often it is looked. Who is in the way at two looks in a row is told of.
const INTERVAL: Duration = Duration::from_millis(100);

const BLOCKERS: &str = include_str!("sql/blockers.sql");
const LOCK_HOLDERS: &str = include_str!("sql/lock_holders.sql");

/// Says in the log who is in the way of a backend: once, until it is somebody else.
pub(super) struct Blockers {
    /// A connection of its own: the backend's is busy while it waits.
    client: Client,
    backend: i32,
    seen: Vec<Blocker>,
    told: Vec<Blocker>,
}

/// A session that has a lock.
#[derive(Clone, PartialEq, Eq)]
struct Blocker {
    /// 0 is a prepared transaction.
    pid: i32,
    application: Option<String>,
    /// None if the role may not see it.
    state: Option<String>,
    since: Option<String>,
}

impl Blockers {
    pub(super) fn new(client: Client, backend: i32) -> Self {
        Self { client, backend, seen: Vec::new(), told: Vec::new() }
    }

    /// Looks again and again, as long as it is polled.
    pub(super) async fn watch(&mut self) -> Infallible {
        loop {
            sleep(INTERVAL).await;
            let found = match self.client.query(BLOCKERS, &[&self.backend]).await {
                Ok(rows) => blockers(&rows),
                Err(error) => Err(error.into()),
            };
            match found {
                Ok(found) if found == self.seen => self.tell("a lock on a table", found),
                Ok(found) => self.seen = found,
                Err(error) => {
                    tracing::debug!(%error, "who is in the way can't be seen");
                    return pending().await;
                }
            }
        }
    }

    /// Tells who holds an advisory lock.
    pub(super) async fn tell_holders(&mut self, lock: i64) {
        if let Ok(rows) = self.client.query(LOCK_HOLDERS, &[&lock]).await
            && let Ok(holders) = blockers(&rows)
        {
            self.tell("another migration", holders);
        }
    }

    /// Tells that somebody is in the way who was not seen.
    pub(super) fn tell_unseen(&self) {
        if self.told.is_empty() {
            tracing::warn!(
                "the migration waits for a lock on a table and tries again until it has it"
            );
        }
    }

    fn tell(&mut self, what: &str, found: Vec<Blocker>) {
        // What a session does now changes all the time.
        let pids = |blockers: &[Blocker]| blockers.iter().map(|one| one.pid).collect::<Vec<_>>();
        if found.is_empty() || pids(&found) == pids(&self.told) {
            return;
        }
        let list: Vec<String> = found.iter().map(Blocker::to_string).collect();
        tracing::warn!(
            blockers = list.join("; "),
            "the migration waits for {what} and tries again until it has it; to end a session: SELECT pg_terminate_backend(pid)"
        );
        self.told = found;
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("a prepared transaction, in pg_prepared_xacts");
        }
        write!(f, "pid {}", self.pid)?;
        for part in [&self.application, &self.state].into_iter().flatten() {
            if !part.is_empty() {
                write!(f, ", {part}")?;
            }
        }
        match &self.since {
            Some(since) => write!(f, ", since {since}"),
            None => Ok(()),
        }
    }
}

fn blockers(rows: &[Row]) -> Result<Vec<Blocker>, StoreError> {
    let blocker = |row: &Row| {
        Ok(Blocker {
            pid: get(row, "pid")?,
            application: get(row, "application_name")?,
            state: get(row, "state")?,
            since: get(row, "since")?,
        })
    };
    rows.iter().map(blocker).collect()
}
