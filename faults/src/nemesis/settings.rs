//! Settings of the database or its role, which new sessions get unless they set them.

use super::Rig;
use crate::error::Error;
use rand::{Rng, seq::SliceRandom};

/// Settings that a statement or a promise could depend on.
const HOSTILE: [&str; 30] = [
    "synchronous_commit = off",
    "synchronous_commit = local",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_isolation = 'repeatable read'",
    "default_transaction_read_only = on",
    "default_transaction_deferrable = on",
    "search_path = 'pg_catalog'",
    "search_path = ''",
    "statement_timeout = '5ms'",
    "lock_timeout = '1ms'",
    "idle_session_timeout = '100ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "TimeZone = 'Asia/Kathmandu'",
    "DateStyle = 'German, DMY'",
    "IntervalStyle = 'sql_standard'",
    "bytea_output = 'escape'",
    "extra_float_digits = -10",
    "standard_conforming_strings = off",
    "quote_all_identifiers = on",
    "transform_null_equals = on",
    "array_nulls = off",
    "row_security = off",
    "client_encoding = 'SQL_ASCII'",
    "work_mem = '64kB'",
    "plan_cache_mode = 'force_generic_plan'",
    "enable_indexscan = off",
    "enable_nestloop = off",
    "enable_hashjoin = off",
    "enable_seqscan = off",
    "jit_above_cost = 0",
];

/// What loses acknowledged commits, if a session keeps it and PostgreSQL is killed.
const HASTY: &str = "synchronous_commit = off";

/// How many of them there are at once, besides.
const AT_ONCE: std::ops::RangeInclusive<usize> = 1..=4;

impl Rig {
    /// Sets some of them for the database or its role, ends all sessions, so that new ones get them, and takes them back.
    /// One time in two PostgreSQL is killed meanwhile.
    pub(super) async fn change_settings(&mut self) -> Result<String, Error> {
        let is_killed = self.random.random_ratio(1, 2);
        let count = self.random.random_range(AT_ONCE);
        let mut settings = HOSTILE.to_vec();
        settings.shuffle(&mut self.random);
        settings.truncate(count);
        if is_killed {
            settings.retain(|setting| !setting.starts_with("synchronous_commit"));
            settings.push(HASTY);
        }
        let whose = if self.random.random() {
            self.postgres.alter_database()
        } else {
            self.postgres.alter_role()
        };
        let admin = self.postgres.admin().await?;
        for setting in &settings {
            admin.batch_execute(&format!("{whose} SET {setting}")).await?;
        }
        self.postgres.end_sessions(&admin).await?;
        let away = self.last(1500..5000).await;
        if is_killed {
            self.postgres.kill_9().await;
            self.wait_until_recovered().await;
        }
        let admin = self.postgres.admin().await?;
        admin.batch_execute(&format!("{whose} RESET ALL")).await?;
        self.postgres.end_sessions(&admin).await?;
        let killed = if is_killed { ", and killed PostgreSQL" } else { "" };
        Ok(format!("set {} for {away:?}{killed}", settings.join(", ")))
    }
}
