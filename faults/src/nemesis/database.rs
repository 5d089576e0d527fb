//! A database that serves, and can't do what it is asked.

use super::Rig;
use crate::error::Error;
use rand::{Rng, seq::SliceRandom};
use std::{ops::Range, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

/// The tables that calls write.
const TABLES: [&str; 6] =
    ["one_time", "spend_log", "revoked", "last_resort", "key_package", "pool"];

/// The tables of which rows are locked.
const ROWS: [&str; 4] = ["one_time", "device", "spend_log", "last_resort"];

/// For how long they are locked so that clients are still there, though holds of theirs would have ended; and for how long
/// otherwise. In milliseconds.
const WITHIN_PATIENCE: Range<u64> = 3000..3800;
const BEYOND_PATIENCE: Range<u64> = 4000..15_000;

/// Of how many users.
const LOCKED_USERS: usize = 4;

/// How long it may take until no connection is left.
const FILL: Duration = Duration::from_secs(20);

/// Ends the connections of the service.
const END_OTHERS: &str = "/* keypool-faults: end_others */ \
     SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE datname = current_database() AND application_name <> 'nemesis' AND pid <> pg_backend_pid()";

impl Rig {
    /// Takes every connection that there is, those of the service, too.
    pub(super) async fn use_up_connections(&mut self) -> Result<String, Error> {
        let first = self.postgres.connect().await?;
        first.batch_execute("SET application_name = 'nemesis'").await?;
        let time = Duration::from_millis(self.random.random_range(800..2500));
        let mut end = Instant::now() + FILL;
        let mut taken: Vec<Client> = Vec::new();
        let mut is_full = false;
        while Instant::now() < end {
            match self.postgres.connect().await {
                Ok(client) => {
                    let mine = client.batch_execute("SET application_name = 'nemesis'").await;
                    if mine.is_ok() {
                        taken.push(client);
                    }
                }
                Err(_) => {
                    if !is_full {
                        is_full = true;
                        end = Instant::now() + time;
                    }
                    first.execute(END_OTHERS, &[]).await?;
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
        if !is_full {
            return Err(Error::Usage("PostgreSQL's connections could not be used up".to_owned()));
        }
        Ok(format!("held all {} connections that were free, for {time:?}", taken.len() + 1))
    }

    /// Lets each statement that writes fail with one of these SQLSTATEs.
    pub(super) async fn fail_statements(&mut self, states: &[&str]) -> Result<String, Error> {
        let state = states[self.random.random_range(0..states.len())];
        let client = self.postgres.connect().await?;
        let mut inject = format!(
            "CREATE OR REPLACE FUNCTION nemesis() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'nemesis' USING ERRCODE = '{state}'; END $$;"
        );
        let mut heal = String::new();
        for table in TABLES {
            inject += &format!(
                "CREATE OR REPLACE TRIGGER nemesis BEFORE INSERT OR UPDATE OR DELETE ON {table} \
                 FOR EACH STATEMENT EXECUTE FUNCTION nemesis();"
            );
            heal += &format!("DROP TRIGGER nemesis ON {table};");
        }
        in_turn(&client, &inject).await?;
        let away = self.last(300..2000).await;
        in_turn(&client, &heal).await?;
        Ok(format!("every statement that writes failed with {state}, for {away:?}"))
    }

    /// Keeps everybody from a table.
    pub(super) async fn lock_table(&mut self) -> Result<String, Error> {
        let table = TABLES[self.random.random_range(0..2)];
        let client = self.postgres.connect().await?;
        in_turn(&client, &format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await?;
        let away = self.last(500..4000).await;
        client.batch_execute("COMMIT").await?;
        Ok(format!("locked {table} for {away:?}"))
    }

    /// Locks the rows of some users' devices in one table, or in all, for longer than statements wait.
    pub(super) async fn lock_rows(&mut self) -> Result<String, Error> {
        let tables = match self.random.random_range(0..=ROWS.len()) {
            all if all == ROWS.len() => &ROWS[..],
            one => &ROWS[one..=one],
        };
        let client = self.postgres.connect().await?;
        let mut users: Vec<String> = client
            .query("SELECT DISTINCT user_id FROM device", &[])
            .await?
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?;
        users.shuffle(&mut self.random);
        users.truncate(LOCKED_USERS);
        let mut locked = 0;
        client.batch_execute("BEGIN").await?;
        for table in tables {
            // Those that others have locked are left: to wait for them could end in a deadlock.
            let lock =
                format!("SELECT FROM {table} WHERE user_id = ANY ($1) FOR UPDATE SKIP LOCKED");
            locked += client.query(&lock, &[&users]).await?.len();
        }
        let how_long = if self.random.random() { WITHIN_PATIENCE } else { BEYOND_PATIENCE };
        let away = self.last(how_long).await;
        client.batch_execute("COMMIT").await?;
        Ok(format!("locked {locked} rows of {} for {away:?}", tables.join(", ")))
    }
}

/// Executes statements that need locks on tables in use, again if others have had them.
async fn in_turn(client: &Client, statements: &str) -> Result<(), Error> {
    for _ in 0..20 {
        match client.batch_execute(statements).await {
            Err(error) if error.code().is_some_and(|code| code.code() == "40P01") => {
                client.batch_execute("ROLLBACK").await?;
            }
            result => return Ok(result?),
        }
    }
    Ok(client.batch_execute(statements).await?)
}
