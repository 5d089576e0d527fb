//! A database client that gets in the service's way.

use super::calls::eventually;
use keypool_service::testing::{database::TestDatabase, server::TestServer};
use tokio_postgres::{Client, Config, NoTls};

pub async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A client in an open transaction that has locked what a query selects.
pub async fn lock(server: &TestServer, query: &str) -> Client {
    let client = connect(&server.database().config()).await;
    client.batch_execute(&format!("BEGIN; {query} FOR UPDATE")).await.unwrap();
    client
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
