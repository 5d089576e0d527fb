//! A database client that gets in the service's way.

use super::calls::eventually;
use keypool_service::testing::{database::TestDatabase, server::TestServer};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio_postgres::{Client, Config, NoTls};

pub async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Sessions that are ended until this is dropped: again and again, because one look does not see a session that is being made.
pub struct Ended(AbortHandle);

impl Ended {
    /// Ends those that match a condition on `pg_stat_activity`, from another session.
    pub async fn sessions(from: &Config, condition: &str) -> Self {
        let admin = connect(from).await;
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {condition} AND pid <> pg_backend_pid()"
        );
        admin.batch_execute(&end).await.unwrap();
        let ending = tokio::spawn(async move {
            while admin.batch_execute(&end).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self(ending.abort_handle())
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A client in an open transaction that has locked what a query selects.
pub async fn lock(server: &TestServer, query: &str) -> Client {
    let client = connect(&server.database().config()).await;
    client.batch_execute(&format!("BEGIN; {query} FOR UPDATE")).await.unwrap();
    client
}

/// A client in an open transaction that has locked a whole table against writers.
pub async fn lock_table(server: &TestServer, table: &str) -> Client {
    let client = connect(&server.database().config()).await;
    let lock = format!("BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE");
    client.batch_execute(&lock).await.unwrap();
    client
}

/// From now on commits wait for a standby that is not there, or wait no longer. The database must be the only one of its cluster.
pub async fn hang_commits(database: &TestDatabase, hang: bool) {
    let admin = connect(&database.config()).await;
    let standbys = if hang { "missing" } else { "" };
    let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{standbys}'");
    for statement in [&set, "SELECT pg_reload_conf()"] {
        admin.batch_execute(statement).await.unwrap();
    }
    // The checkpointer makes it so, some time after sessions show it.
    eventually("commits hang, or don't", async || commit_hangs(database, &admin).await == hang)
        .await;
}

/// Whether a commit hangs. One that does is ended.
async fn commit_hangs(database: &TestDatabase, admin: &Client) -> bool {
    let session = connect(&database.config()).await;
    let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let write = "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, '', '')";
    let commit = tokio::spawn(async move { drop(session.batch_execute(write).await) });
    let waits = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE pid = $1 AND wait_event = 'SyncRep'";
    let mut hangs = false;
    eventually("a commit hangs, or ends", async || {
        hangs = admin.query_opt(waits, &[&pid]).await.unwrap().is_some();
        hangs || commit.is_finished()
    })
    .await;
    hangs
}

/// Every statement that changes one-time packages takes until this ends: it waits, but not for a lock.
pub struct Hurdle(pub Client);

impl Hurdle {
    pub async fn start(server: &TestServer) -> Self {
        let client = connect(&server.database().config()).await;
        client
            .batch_execute(
                "CREATE TABLE IF NOT EXISTS hurdle (); INSERT INTO hurdle DEFAULT VALUES;
                 CREATE OR REPLACE FUNCTION wait_at_hurdle() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN
                     WHILE EXISTS (SELECT FROM public.hurdle) LOOP PERFORM pg_sleep(0.002); END LOOP;
                     RETURN CASE WHEN tg_op = 'DELETE' THEN old ELSE new END;
                 END $$;
                 CREATE OR REPLACE TRIGGER hurdle BEFORE UPDATE OR DELETE ON one_time
                     FOR EACH ROW EXECUTE FUNCTION wait_at_hurdle()",
            )
            .await
            .unwrap();
        Self(client)
    }

    /// The same, for statements that give holds back.
    pub async fn for_releases(server: &TestServer) -> Self {
        let hurdle = Self::start(server).await;
        let only_releases = "DROP TRIGGER hurdle ON one_time; CREATE TRIGGER hurdle BEFORE UPDATE ON one_time \
                             FOR EACH ROW WHEN (new.reservation_id IS NULL) EXECUTE FUNCTION wait_at_hurdle()";
        hurdle.0.batch_execute(only_releases).await.unwrap();
        hurdle
    }

    /// Waits until a statement of the service waits here, and returns its backend's process id.
    pub async fn somebody_waits(&self, server: &TestServer) -> i32 {
        let client = connect(&server.database().config()).await;
        let query = "SELECT pid FROM pg_stat_activity \
                     WHERE datname = current_database() AND wait_event = 'PgSleep' LIMIT 1";
        let mut waiting = None;
        eventually("a statement waits", async || {
            waiting = client.query_opt(query, &[]).await.unwrap().map(|row| row.get(0));
            waiting.is_some()
        })
        .await;
        waiting.unwrap()
    }

    pub async fn end(self) {
        self.0.batch_execute("DELETE FROM hurdle").await.unwrap();
    }
}

/// Waits until a lane has executed a statement, which it has not done before, and goes on.
pub async fn has_executed(database: &TestDatabase, statement: &str) {
    let client = connect(&database.config()).await;
    let query = "SELECT EXISTS (
                     SELECT FROM pg_stat_activity
                     WHERE datname = current_database() AND state = 'idle'
                       AND query LIKE '/* keypool: ' || $1::text || ' */%'
                 )";
    eventually("a lane has executed it", async || {
        client.query_one(query, &[&statement]).await.unwrap().get(0)
    })
    .await;
}

/// Waits until a statement of the service waits for somebody's lock, and returns its backend's process id.
pub async fn somebody_waits(database: &TestDatabase) -> i32 {
    let client = connect(&database.config()).await;
    let query = "SELECT pid FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock' LIMIT 1";
    let mut waiting = None;
    eventually("a statement waits for a lock", async || {
        waiting = client.query_opt(query, &[]).await.unwrap().map(|row| row.get(0));
        waiting.is_some()
    })
    .await;
    waiting.unwrap()
}
