//! Rows: packages of users that never uploaded any, by a few statements instead of calls.

use super::{Database, connect};
use crate::error::Error;
use jiff::Timestamp;
use keypool_service::clock::{Clock, SystemClock};
use std::ops::RangeInclusive;
use tokio_postgres::types::Type;

/// The one device of every user.
pub(crate) const DEVICE: &str = "phone";

/// How many packages each user has at first: what keypool asks devices to keep.
pub(crate) const PACKAGES_PER_USER: u32 = 32;

/// Users that one statement fills the pools of, so that no transaction gets too large.
const USERS_PER_STATEMENT: i64 = 32_768;

/// Which packages of which users.
#[derive(Debug, Clone)]
pub(crate) struct Packages {
    /// How the users' names begin.
    pub(crate) prefix: &'static str,
    /// The users, by number.
    pub(crate) users: RangeInclusive<u32>,
    /// The packages of each, by number.
    pub(crate) copies: RangeInclusive<u32>,
    /// Bytes of each package.
    pub(crate) bytes: u32,
}

/// The name of a user.
pub(crate) fn user(prefix: &str, number: u32) -> String {
    format!("{prefix}{number:06}")
}

impl Database {
    /// Makes the tables that baselines need, and what fills them.
    pub(crate) async fn prepare_to_fill(&self) -> Result<(), Error> {
        Ok(self.control.batch_execute(include_str!("../sql/packages.sql")).await?)
    }

    /// Adds packages to keypool's tables.
    pub(crate) async fn fill_pools(&self, packages: &Packages) -> Result<(), Error> {
        let now = SystemClock.now();
        for step in packages.steps() {
            tokio::try_join!(
                self.insert(include_str!("../sql/fill_key_packages.sql"), &step, Fill::Bytes, now),
                self.insert(include_str!("../sql/fill_one_time.sql"), &step, Fill::Refs, now),
                self.insert(include_str!("../sql/fill_pools.sql"), &step, Fill::Refs, now),
            )?;
        }
        Ok(())
    }

    /// Adds packages to the table of servers that delete on read.
    pub(crate) async fn fill_delete_on_read(&self, packages: &Packages) -> Result<(), Error> {
        let now = SystemClock.now();
        for step in packages.steps() {
            let insert = include_str!("../sql/fill_delete_on_read.sql");
            self.insert(insert, &step, Fill::Bytes, now).await?;
        }
        Ok(())
    }

    /// Lets all packages in the pools be such that nobody has seen. Holds must have ended: it forgets them.
    pub(crate) async fn forget_hand_outs(&self) -> Result<(), Error> {
        self.control.batch_execute(include_str!("../sql/forget_hand_outs.sql")).await?;
        Ok(self.control.batch_execute("VACUUM one_time").await?)
    }

    /// Makes statistics and the free space known.
    pub(crate) async fn settle(&self) -> Result<(), Error> {
        self.control.batch_execute("VACUUM ANALYZE").await?;
        self.checkpoint().await
    }

    /// Runs one statement on a connection of its own, so that several run at once.
    async fn insert(
        &self,
        sql: &str,
        packages: &Packages,
        fill: Fill,
        now: Timestamp,
    ) -> Result<(), Error> {
        let client = connect(&self.config).await?;
        let mut types =
            vec![Type::TEXT, Type::INT8, Type::INT8, Type::INT8, Type::INT8, Type::TEXT];
        let (first_user, last_user) = bounds(&packages.users);
        let (first_copy, last_copy) = bounds(&packages.copies);
        let bytes = i32::try_from(packages.bytes).unwrap_or(i32::MAX);
        let mut params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            vec![&packages.prefix, &first_user, &last_user, &first_copy, &last_copy, &DEVICE];
        if let Fill::Bytes = fill {
            types.push(Type::INT4);
            params.push(&bytes);
        }
        types.push(Type::TIMESTAMPTZ);
        params.push(&now);
        let statement = client.prepare_typed(sql, &types).await?;
        client.execute(&statement, &params).await?;
        Ok(())
    }
}

/// Whether a statement wants to know how many bytes a package has.
#[derive(Debug, Clone, Copy)]
enum Fill {
    /// It does.
    Bytes,
    /// It only wants the refs.
    Refs,
}

/// The first and the last number of a range.
fn bounds(range: &RangeInclusive<u32>) -> (i64, i64) {
    (i64::from(*range.start()), i64::from(*range.end()))
}

impl Packages {
    /// The same packages, in steps that are not too large.
    fn steps(&self) -> Vec<Self> {
        let (first, last) = bounds(&self.users);
        let copies = bounds(&self.copies);
        let packages_of_one = (copies.1 - copies.0 + 1).max(1);
        let users = (USERS_PER_STATEMENT * i64::from(PACKAGES_PER_USER) / packages_of_one).max(1);
        let mut steps = Vec::new();
        let mut next = first;
        while next <= last {
            let end = last.min(next + users - 1);
            let number = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
            steps.push(Self { users: number(next)..=number(end), ..self.clone() });
            next = end + 1;
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_cover_everything_once() {
        let packages = Packages { prefix: "user-", users: 5..=100_000, copies: 1..=32, bytes: 1 };
        let steps = packages.steps();
        assert_eq!(steps.len(), 4);
        assert_eq!(*steps[0].users.start(), 5);
        assert_eq!(*steps[3].users.end(), 100_000);
        for pair in steps.windows(2) {
            assert_eq!(*pair[0].users.end() + 1, *pair[1].users.start());
        }
    }

    #[test]
    fn many_packages_of_one_user_are_one_step() {
        let hot = Packages { prefix: "hot-", users: 1..=1, copies: 1..=10_000, bytes: 1 };
        assert_eq!(hot.steps().len(), 1);
    }
}
