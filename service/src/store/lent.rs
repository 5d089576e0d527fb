//! Connections of the pool, each of which goes back once its statement has ended.

use super::{Purpose, StoreError, circuit::Silence};
use deadpool_postgres::{Client, Object};
use tokio::{runtime::Handle, time::timeout};
use tokio_postgres::{Row, types::ToSql};

/// How often the database plans a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Planned {
    /// When a connection first runs it: for the statements of calls, which cost less than their plans.
    Once,
    /// Whenever it is run: for a statement over many buckets, which would be slow for hours if it were planned while the tables were
    /// empty.
    EachTime,
}

/// A connection for one statement.
///
/// A caller that leaves before the answer drops this. Its statement goes on, and those of others would wait behind it, each
/// of them abandoned in turn and none of them ever counted. So the connection is nobody's until the answer has come.
pub(super) struct Lent {
    client: Option<Client>,
    silence: Silence,
}

impl Lent {
    /// Takes a connection, which is not used again once the database fell silent since this was heard of.
    pub(super) fn new(client: Client, silence: Silence) -> Self {
        Self { client: Some(client), silence }
    }

    /// Runs a statement. A connection whose statements are out of date does not go back to the pool.
    pub(super) async fn rows(
        mut self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
        planned: Planned,
    ) -> Result<Vec<Row>, StoreError> {
        let client = self.client.as_ref().expect("it is there until this is dropped");
        let rows = async {
            let statement = match planned {
                Planned::Once => client.prepare_cached(sql).await?,
                Planned::EachTime => client.prepare(sql).await?,
            };
            Ok(client.query(&statement, params).await?)
        };
        let rows: Result<_, StoreError> = rows.await;
        match &rows {
            Ok(_) => self.client = None,
            Err(error) if error.is_of_the_connection() => {
                drop(self.client.take().map(Object::take))
            }
            Err(_) => {}
        }
        rows
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (Some(client), Ok(runtime)) = (self.client.take(), Handle::try_current()) else {
            return;
        };
        let mut silence = self.silence.clone();
        runtime.spawn(async move {
            // This is answered after whatever was asked before.
            let ended = silence.or(async { Ok(client.check_connection().await?) });
            if !matches!(timeout(Purpose::Pool.answer_timeout(), ended).await, Ok(Ok(()))) {
                drop(Object::take(client));
            }
        });
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::super::{Connector, Store, StoreError};
    use crate::{clock::SystemClock, testing::database::TestDatabase};
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    #[tokio::test]
    async fn a_call_that_gets_no_connection_is_told_whether_the_database_answers_others() {
        let database = TestDatabase::create().await;
        let connector = Connector::plain(database.config());
        let wait = Duration::from_millis(200);
        let store = Store::new(connector, Arc::new(SystemClock), 1, wait).unwrap();
        store.rows("SELECT 1", &[]).await.unwrap();
        let sleep = "SELECT pg_sleep(3600)";
        let sleeper = tokio::spawn({
            let store = store.clone();
            async move { store.rows(sleep, &[]).await }
        });
        while store.connections().busy == 0 {
            tokio::task::yield_now().await;
        }

        let away = store.rows("SELECT 1", &[]).await;
        assert!(matches!(away, Err(StoreError::Lost(_))), "{away:?}");
        let answers_others = async {
            while store.connections().waiting == 0 {
                tokio::task::yield_now().await;
            }
            store.circuit.note(Instant::now(), &Ok(()));
        };
        let (busy, ()) = tokio::join!(store.rows("SELECT 1", &[]), answers_others);
        assert!(matches!(busy, Err(StoreError::Busy)), "{busy:?}");
        sleeper.abort();
    }
}
