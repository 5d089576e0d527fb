//! Fences: moments before which the database may have forgotten what was handed out.

use super::{Session, Store, StoreError, get, hanging::COMMIT_LIMIT};
use jiff::Timestamp;
use std::{collections::HashMap, pin::pin};
use tokio::time::timeout;
use tokio_postgres::{Row, error::SqlState, types::ToSql};

const HISTORY: &str = include_str!("sql/history.sql");
const FENCES: &str = include_str!("sql/fences.sql");
const RAISE_FENCE: &str = include_str!("sql/raise_fence.sql");
const RAISE_FENCE_BY_HAND: &str = include_str!("sql/raise_fence_by_hand.sql");
const LIFT_FENCES: &str = include_str!("sql/lift_fences.sql");
const LIST_FENCES: &str = include_str!("sql/list_fences.sql");
pub(super) const GUARDED: &str = include_str!("sql/guarded.sql");
const BEAT: &str = include_str!("sql/beat.sql");
const PURGE_BEATS: &str = include_str!("sql/purge_beats.sql");

/// The end of the identity of a database whose triggers are disabled, which would show that a table was emptied.
const UNGUARDED: &str = ", unguarded";

/// Which history a cluster has. Two histories have nothing in common but their beginning, if that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// PostgreSQL's identifier of the cluster, drawn when it was made.
    pub system_identifier: i64,
    /// The timeline: a promotion, or a recovery to a point in time, begins a new one.
    pub timeline: i32,
}

/// A replica's last beat: as far as the database has come for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Its number, one more than that of the replica's beat before.
    pub number: i64,
    /// When it was, by the replica's clock.
    pub beaten_at: Timestamp,
}

/// What a database says of its fences, and of the beats of all replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fences {
    /// Which database it is, and which tables: a restore makes others, even within a cluster. Another one while triggers are
    /// disabled that notice restores.
    pub identity: String,
    /// Which it was when a fence was last raised by a service that noted it.
    pub noted_identity: Option<String>,
    /// The newest fence, up or not, and the history that the cluster had then, if it could tell; none if no service has ever
    /// looked.
    pub newest: Option<(i32, Option<History>)>,
    /// The newest fence that is up; 0 if there is none. A package that was vouched for before it is quarantined.
    pub up: i32,
    /// The last beat of each replica.
    pub beats: HashMap<String, Beat>,
}

/// A fence to raise.
#[derive(Debug, Clone, Copy)]
pub struct NewFence<'a> {
    /// Its number: that of the newest fence, and one more.
    pub number: i32,
    /// Why it is raised.
    pub cause: &'static str,
    /// The history that the cluster has now, if it can tell.
    pub history: Option<History>,
    /// Which database it is now, and which tables.
    pub identity: &'a str,
    /// Whether it keeps anything back; else it only notes history and identity.
    pub up: bool,
}

/// A fence, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FenceRow {
    /// Its number.
    pub number: i32,
    /// Why it was raised.
    pub cause: String,
    /// When it was raised.
    pub raised_at: Timestamp,
    /// When it was lifted; none if it is up.
    pub lifted_at: Option<Timestamp>,
}

impl Session {
    /// The cluster's history; none if it can't tell, as a database that only speaks PostgreSQL's protocol.
    ///
    /// # Errors
    /// If the database fails, or is a standby: nothing can be written there.
    pub async fn history(&mut self) -> Result<Option<History>, StoreError> {
        let rows = match self.rows(HISTORY, &[]).await {
            Err(error) if cannot_tell(&error) => return Ok(None),
            rows => rows?,
        };
        let Some(row) = rows.first() else { return Ok(None) };
        let timeline: Option<i32> = get(row, "timeline")?;
        let timeline = timeline.ok_or_else(|| StoreError::unavailable("it is a standby"))?;
        Ok(Some(History { system_identifier: get(row, "system_identifier")?, timeline }))
    }

    /// What the database says of its fences, and of the beats of all replicas.
    ///
    /// # Errors
    /// If the database fails, or lacks a table at the moment: one that is renamed and comes back is no loss.
    pub async fn fences(&mut self) -> Result<Fences, StoreError> {
        let guarded = self.is_guarded().await?;
        let rows = self.rows(FENCES, &[]).await?;
        let row = rows.first().ok_or_else(|| StoreError::internal("no row of fences"))?;
        if !get::<bool>(row, "is_whole")? {
            return Err(StoreError::unavailable("the schema lacks a table"));
        }
        let newest = match get::<Option<i32>>(row, "newest")? {
            Some(number) => Some((number, history(row)?)),
            None => None,
        };
        let mut identity: String = get(row, "identity")?;
        if !guarded {
            identity += UNGUARDED;
        }
        Ok(Fences {
            identity,
            noted_identity: get(row, "noted_identity")?,
            newest,
            up: get(row, "up")?,
            beats: beats(row)?,
        })
    }

    /// Whether it would show if a table of packages were emptied to be filled from a backup.
    pub(super) async fn is_guarded(&mut self) -> Result<bool, StoreError> {
        let rows = self.rows(GUARDED, &[]).await?;
        get(rows.first().ok_or_else(|| StoreError::internal("no row"))?, "guarded")
    }

    /// Raises a fence, unless there is one of its number already: then it returns false.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn raise_fence(
        &mut self,
        fence: &NewFence<'_>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (system_identifier, timeline) =
            fence.history.map(|history| (history.system_identifier, history.timeline)).unzip();
        let params: [&(dyn ToSql + Sync); 7] = [
            &fence.number,
            &now,
            &fence.cause,
            &system_identifier,
            &timeline,
            &fence.identity,
            &fence.up,
        ];
        Ok(!self.rows(RAISE_FENCE, &params).await?.is_empty())
    }

    /// Notes a replica's beat.
    ///
    /// # Errors
    /// If the database fails. Then the beat may have been noted or not.
    pub async fn beat(&mut self, replica: &str, beat: Beat) -> Result<(), StoreError> {
        let circuit = self.circuit();
        let params: [&(dyn ToSql + Sync); 3] = [&replica, &beat.number, &beat.beaten_at];
        let mut noted = pin!(self.rows(BEAT, &params));
        let noted = match timeout(COMMIT_LIMIT, &mut noted).await {
            Ok(noted) => noted,
            Err(_elapsed) => {
                circuit.note_hanging_write(true);
                noted.await
            }
        };
        let noted = noted.map(drop);
        // One that was given up hangs still.
        circuit.note_hanging_write(
            matches!(noted, Err(StoreError::Lost(_))) && circuit.has_hanging_write(),
        );
        circuit.note_write(&noted);
        noted
    }
}

impl Store {
    /// Raises a fence by hand. In a database that no service has ever looked at there is nothing to keep back.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn raise_fence_by_hand(&self, now: Timestamp) -> Result<(), StoreError> {
        self.rows(RAISE_FENCE_BY_HAND, &[&now]).await.map(drop)
    }

    /// Lifts every fence that is up.
    ///
    /// # Errors
    /// If the database fails, or its role may not.
    pub async fn lift_fences(&self, now: Timestamp) -> Result<(), StoreError> {
        self.rows(LIFT_FENCES, &[&now]).await.map(drop)
    }

    /// Lists the fences, the newest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn list_fences(&self) -> Result<Vec<FenceRow>, StoreError> {
        let fence = |row: &Row| {
            Ok(FenceRow {
                number: get(row, "number")?,
                cause: get(row, "cause")?,
                raised_at: get(row, "raised_at")?,
                lifted_at: get(row, "lifted_at")?,
            })
        };
        self.rows(LIST_FENCES, &[]).await?.iter().map(fence).collect()
    }

    /// Purges the beats of replicas that have not beaten since.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn purge_beats(&self, beaten_before: Timestamp) -> Result<(), StoreError> {
        self.rows(PURGE_BEATS, &[&beaten_before]).await.map(drop)
    }
}

/// Whether a database refused to tell its history because it has none to tell, or tells it to others only.
fn cannot_tell(refusal: &StoreError) -> bool {
    let codes = [
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::UNDEFINED_TABLE,
    ];
    refusal.code().is_some_and(|code| codes.contains(code))
}

fn beats(row: &Row) -> Result<HashMap<String, Beat>, StoreError> {
    let replicas: Option<Vec<String>> = get(row, "replicas")?;
    let numbers: Option<Vec<i64>> = get(row, "numbers")?;
    let times: Option<Vec<Timestamp>> = get(row, "beaten_at")?;
    let beats = numbers.unwrap_or_default().into_iter().zip(times.unwrap_or_default());
    let beats = beats.map(|(number, beaten_at)| Beat { number, beaten_at });
    Ok(replicas.unwrap_or_default().into_iter().zip(beats).collect())
}

fn history(row: &Row) -> Result<Option<History>, StoreError> {
    let system_identifier: Option<i64> = get(row, "system_identifier")?;
    let timeline: Option<i32> = get(row, "timeline")?;
    Ok(system_identifier
        .zip(timeline)
        .map(|(system_identifier, timeline)| History { system_identifier, timeline }))
}
