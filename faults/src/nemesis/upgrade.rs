//! A next version beside this one.

use super::Rig;
use crate::{error::Error, processes::Program};
use tokio_postgres::Client;

impl Rig {
    /// Brings the schema of a next version while this one serves, and then replaces one replica after the other.
    ///
    /// Where the replicas run another binary than the next one, that one brings its own schema.
    pub(super) async fn upgrade(&mut self) -> Result<String, Error> {
        let client = self.postgres.connect().await?;
        let before = newest(&client).await?;
        let version = before + 1;
        expand(&client, version).await?;
        self.last(1000..2500).await;
        for number in 0..self.replicas.len() {
            let next = self.next.clone();
            self.replicas[number].replace(next);
            // A next version would know this schema. The one that stands for it must not look.
            hide(&client, version).await?;
            self.restart(number).await?;
            show(&client, version.max(newest(&client).await? + 1)).await?;
            self.last(500..1000).await;
        }
        client
            .batch_execute(&format!(
                "DELETE FROM refinery_schema_history WHERE name = '{NAME}';
                 ALTER TABLE one_time DROP COLUMN nemesis_{version};
                 DROP TABLE nemesis_{version}"
            ))
            .await?;
        let program = match &self.next {
            Program::Own => "this program".to_owned(),
            Program::Binary(path) => path.display().to_string(),
        };
        Ok(format!(
            "schema {version} beside {before}, then {program} on one replica after the other"
        ))
    }
}

/// What the next version's migration is called.
const NAME: &str = "nemesis";

/// The schema's version.
async fn newest(client: &Client) -> Result<i32, Error> {
    let statement = "SELECT COALESCE(max(version), 0)::int FROM refinery_schema_history";
    Ok(client.query_one(statement, &[]).await?.try_get(0)?)
}

/// Migrates as a next version would: what the one before does not know is added, and nothing taken away.
async fn expand(client: &Client, version: i32) -> Result<(), Error> {
    client
        .batch_execute(&format!(
            "ALTER TABLE one_time ADD COLUMN nemesis_{version} text;
             CREATE TABLE nemesis_{version} (bucket smallint NOT NULL PRIMARY KEY)"
        ))
        .await?;
    show(client, version).await
}

/// Says that the schema is of this version.
async fn show(client: &Client, version: i32) -> Result<(), Error> {
    let statement = format!(
        "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
         VALUES ({version}, '{NAME}', '2000-01-01T00:00:00Z', '0')"
    );
    Ok(client.batch_execute(&statement).await?)
}

/// Does not say it.
async fn hide(client: &Client, version: i32) -> Result<(), Error> {
    let statement = format!(
        "DELETE FROM refinery_schema_history WHERE name = '{NAME}' AND version >= {version}"
    );
    Ok(client.batch_execute(&statement).await?)
}
