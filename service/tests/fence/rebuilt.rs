//! Dumps, restored within the cluster that they come from: no identifier of the cluster and no timeline tells.

use super::{
    causes, store,
    support::{
        assert_balanced,
        calls::{refs, reserve_one},
        client, fill,
        locks::connect,
        pool, reason,
    },
    use_one, why_not,
};
use keypool_proto::v1::ErrorReason;
use keypool_service::testing::{database::TestDatabase, server::TestServer};
use std::{collections::HashSet, path::PathBuf, process::Command, sync::Arc};
use tempfile::TempDir;
use tokio_postgres::{Config, config::Host};

/// All tables with data, in an order in which they can be emptied and filled.
const TABLES: &str =
    "beat, device, fence, key_package, last_resort, one_time, origin, pool, revoked, spend_log";

/// A database, and two backups of it: a dump, and a copy within the cluster.
struct Backed {
    database: Arc<TestDatabase>,
    admin: Config,
    folder: TempDir,
    packages: HashSet<Vec<u8>>,
}

impl Backed {
    /// With four packages of bob's in the backups, of which two are spent since. No service runs.
    async fn up() -> Self {
        let database = Arc::new(TestDatabase::create().await);
        let mut admin = database.config();
        admin.dbname("postgres");
        let server = TestServer::start_with_shared_database(database.clone(), |_| {}).await;
        let uploaded = fill(&mut client(&server).await, "bob", "phone", 4).await;
        server.stop().await;
        let packages = refs(&uploaded).into_iter().collect();
        let backed = Self { database, admin, folder: TempDir::new().unwrap(), packages };
        backed.run("pg_dump", &["--format=custom", "--file", &backed.dump()]).await;
        backed.sql("CREATE TABLE saved AS TABLE one_time").await;
        let [name, copy] = [backed.name(), backed.copy()];
        backed.cluster(&[&format!("CREATE DATABASE {copy} TEMPLATE {name}")]).await;

        let server = backed.serve().await;
        let mut client = client(&server).await;
        for reservation in ["one", "two"] {
            use_one(&mut client, reservation).await;
        }
        server.stop().await;
        assert_eq!(causes(backed.database.config()).await, Vec::<String>::new());
        backed
    }

    async fn serve(&self) -> TestServer {
        TestServer::start_with_shared_database(self.database.clone(), |_| {}).await
    }

    /// A service looks at it: a lane does before it does anything.
    async fn looked_at(&self) {
        let server = self.serve().await;
        reserve_one(&mut client(&server).await, "any", "nobody", "phone").await.unwrap_err();
        server.stop().await;
    }

    fn name(&self) -> String {
        self.database.config().get_dbname().unwrap().to_owned()
    }

    fn copy(&self) -> String {
        format!("{}_copy", self.name())
    }

    fn dump(&self) -> String {
        self.folder.path().join("dump").to_str().unwrap().to_owned()
    }

    async fn sql(&self, sql: &str) {
        connect(&self.database.config()).await.batch_execute(sql).await.unwrap();
    }

    /// Runs statements outside of the database, one after the other.
    async fn cluster(&self, statements: &[&str]) {
        let admin = connect(&self.admin).await;
        for statement in statements {
            admin.batch_execute(statement).await.unwrap();
        }
    }

    /// Drops the database and creates an empty one of its name.
    async fn create_anew(&self) {
        let name = self.name();
        let [drop, create] =
            [format!("DROP DATABASE {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")];
        self.cluster(&[&drop, &create]).await;
    }

    async fn restore(&self, flags: &[&str]) {
        let (name, dump) = (self.name(), self.dump());
        let arguments = [flags, &["--exit-on-error", "--dbname", &name, &dump]].concat();
        self.run("pg_restore", &arguments).await;
    }

    /// Runs a program of PostgreSQL's on the database.
    async fn run(&self, program: &str, arguments: &[&str]) {
        let folder = "SELECT setting FROM pg_config WHERE name = 'BINDIR'";
        let folder: String =
            connect(&self.admin).await.query_one(folder, &[]).await.unwrap().get(0);
        let [Host::Unix(socket)] = self.admin.get_hosts() else { unreachable!() };
        let mut command = Command::new(PathBuf::from(folder).join(program));
        command
            .args(arguments)
            .env("PGHOST", socket)
            .env("PGPORT", self.admin.get_ports()[0].to_string())
            .env("PGUSER", self.admin.get_user().unwrap())
            .env("PGPASSWORD", String::from_utf8_lossy(self.admin.get_password().unwrap()).as_ref())
            .env("PGDATABASE", self.name());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// All fences and what only notes something, the oldest first: why, and whether it is up.
    async fn noted(&self) -> Vec<(String, bool)> {
        let fences = "SELECT cause, lifted_at IS NULL FROM fence ORDER BY number";
        let admin = connect(&self.database.config()).await;
        let rows = admin.query(fences, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

/// The ways in which a database or some of its tables are restored.
#[derive(Debug, Clone, Copy)]
enum Way {
    NewDatabase,
    NewDatabaseOfPlainTables,
    CleanTables,
    NewSchema,
    SchemaSetAside,
    EmptiedTables,
    DeletedRows,
    TwoEmptiedTables,
    EmptiedAsReplica,
    EmptiedWithoutTriggers,
    OneOtherTable,
    CopySwappedIn,
}

impl Way {
    const ALL: [Self; 12] = [
        Self::NewDatabase,
        Self::NewDatabaseOfPlainTables,
        Self::CleanTables,
        Self::NewSchema,
        Self::SchemaSetAside,
        Self::EmptiedTables,
        Self::DeletedRows,
        Self::TwoEmptiedTables,
        Self::EmptiedAsReplica,
        Self::EmptiedWithoutTriggers,
        Self::OneOtherTable,
        Self::CopySwappedIn,
    ];

    async fn restore(self, backed: &Backed) {
        let [name, copy] = [backed.name(), backed.copy()];
        match self {
            Self::NewDatabase => {
                backed.create_anew().await;
                backed.restore(&[]).await;
            }
            Self::NewDatabaseOfPlainTables => {
                backed.create_anew().await;
                backed.restore(&["--no-owner", "--no-acl", "--jobs=2"]).await;
            }
            Self::CleanTables => backed.restore(&["--clean", "--if-exists"]).await,
            Self::NewSchema => {
                backed.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
                backed.restore(&[]).await;
            }
            Self::SchemaSetAside => {
                backed.sql("ALTER SCHEMA public RENAME TO aside; CREATE SCHEMA public").await;
                backed.restore(&[]).await;
            }
            Self::EmptiedTables => {
                backed.sql(&format!("TRUNCATE {TABLES}")).await;
                backed.restore(&data_of(TABLES)).await;
            }
            Self::DeletedRows => {
                let deletes: String =
                    TABLES.split(", ").map(|table| format!("DELETE FROM {table};")).collect();
                backed.sql(&deletes).await;
                backed.restore(&data_of(TABLES)).await;
            }
            Self::TwoEmptiedTables => {
                backed.sql("TRUNCATE one_time, spend_log").await;
                backed.restore(&data_of("one_time, spend_log")).await;
            }
            Self::EmptiedAsReplica => {
                let emptied =
                    "SET session_replication_role = replica; TRUNCATE one_time, spend_log";
                backed.sql(emptied).await;
                backed.restore(&data_of("one_time, spend_log")).await;
            }
            Self::EmptiedWithoutTriggers => {
                backed
                    .sql(
                        "ALTER TABLE one_time DISABLE TRIGGER ALL; \
                         ALTER TABLE spend_log DISABLE TRIGGER ALL; TRUNCATE one_time, spend_log",
                    )
                    .await;
                backed.restore(&data_of("one_time, spend_log")).await;
                // As pg_dump --disable-triggers does: not as it was before.
                backed
                    .sql(
                        "ALTER TABLE one_time ENABLE TRIGGER ALL; \
                         ALTER TABLE spend_log ENABLE TRIGGER ALL",
                    )
                    .await;
            }
            Self::OneOtherTable => {
                backed
                    .sql(
                        "CREATE TABLE fresh (LIKE one_time INCLUDING ALL);
                         INSERT INTO fresh SELECT * FROM saved;
                         DROP TABLE one_time;
                         ALTER TABLE fresh RENAME TO one_time;
                         DELETE FROM spend_log",
                    )
                    .await;
            }
            Self::CopySwappedIn => {
                let aside = format!("ALTER DATABASE {name} RENAME TO {name}_aside");
                let swap = format!("ALTER DATABASE {copy} RENAME TO {name}");
                let drop = format!("DROP DATABASE {name}_aside");
                backed.cluster(&[&aside, &swap, &drop]).await;
            }
        }
    }
}

/// What restores the data of some tables.
fn data_of(tables: &str) -> Vec<&str> {
    let tables = tables.split(", ").flat_map(|table| ["--table", table]);
    ["--data-only"].into_iter().chain(tables).collect()
}

#[tokio::test]
async fn a_restore_within_the_cluster_is_found_out_by_a_service_that_remembers_nothing() {
    for way in Way::ALL {
        let backed = Backed::up().await;
        way.restore(&backed).await;
        let server = backed.serve().await;
        let mut client = client(&server).await;
        let got = reserve_one(&mut client, "again", "bob", "phone").await;
        let error = got.expect_err(&format!("{way:?}: a spent package came back"));
        assert_eq!(reason(&error), ErrorReason::PoolExhausted, "{way:?}");
        assert_eq!(causes(backed.database.config()).await, ["other_database"], "{way:?}");
        let restored = pool(&mut client, "bob", "phone").await;
        assert_eq!((restored.quarantined, restored.spent), (4, 0), "{way:?}");
        assert_balanced(&restored);
        server.stop().await;

        // It is found out once.
        backed.looked_at().await;
        assert_eq!(causes(backed.database.config()).await, ["other_database"], "{way:?}");
    }
}

#[tokio::test]
async fn a_restore_under_a_running_service_is_found_out() {
    let backed = Backed::up().await;
    let server = backed.serve().await;
    let mut client = client(&server).await;
    use_one(&mut client, "three").await;
    backed.create_anew().await;
    backed.restore(&["--single-transaction"]).await;
    assert_eq!(why_not(&mut client, "four").await, ErrorReason::PoolExhausted);
    assert_eq!(causes(backed.database.config()).await.len(), 1);
}

#[tokio::test]
async fn upkeep_raises_no_fence() {
    let backed = Backed::up().await;
    let name = backed.name();
    for statement in [
        "VACUUM FREEZE",
        "VACUUM FULL",
        "VACUUM (FULL, FREEZE)",
        "CLUSTER one_time USING one_time_pkey",
        "CLUSTER origin USING origin_pkey",
        "CLUSTER key_package USING key_package_pkey",
        "REINDEX SCHEMA public",
        "REINDEX TABLE CONCURRENTLY one_time",
        "ANALYZE",
        "CREATE ROLE other_owner; ALTER TABLE one_time OWNER TO other_owner; ALTER TABLE origin OWNER TO other_owner;
         ALTER TABLE one_time OWNER TO CURRENT_USER; ALTER TABLE origin OWNER TO CURRENT_USER; DROP ROLE other_owner",
        "CREATE SCHEMA other; ALTER TABLE one_time SET SCHEMA other; ALTER TABLE other.one_time SET SCHEMA public",
        "ALTER SCHEMA public RENAME TO other_name; ALTER SCHEMA other_name RENAME TO public",
        "ALTER TABLE one_time ADD COLUMN more text; ALTER TABLE one_time DROP COLUMN more",
        "ALTER TABLE one_time SET (fillfactor = 40)",
        "CREATE INDEX CONCURRENTLY more ON one_time (holder)",
        "DELETE FROM spend_log",
    ] {
        // Statement by statement: some run in no transaction.
        for statement in statement.split(';') {
            backed.sql(statement).await;
        }
        backed.looked_at().await;
        assert_eq!(backed.noted().await, [("first".to_owned(), false)], "{statement}");
    }
    let [there, back] = [
        format!("ALTER DATABASE {name} RENAME TO {name}_renamed"),
        format!("ALTER DATABASE {name}_renamed RENAME TO {name}"),
    ];
    backed.cluster(&[&there, &back]).await;
    let server = backed.serve().await;
    let mut client = client(&server).await;
    for reservation in ["three", "four"] {
        assert!(backed.packages.contains(&use_one(&mut client, reservation).await.key_package_ref));
    }
    assert_eq!(backed.noted().await, [("first".to_owned(), false)]);
}

#[tokio::test]
async fn a_database_of_before_is_noted_and_then_known() {
    let backed = Backed::up().await;
    let noted = ["first", "noted"].map(|cause| (cause.to_owned(), false));
    // As migrated: no fence says which database it was.
    backed.sql("UPDATE fence SET identity = NULL").await;
    for _ in 0..2 {
        let server = backed.serve().await;
        let replica = server.replica().await;
        let reserved = reserve_one(&mut client(&replica).await, "three", "bob", "phone").await;
        reserved.unwrap();
        replica.stop().await;
        server.stop().await;
        assert_eq!(backed.noted().await, noted);
    }
    // A replica of the version before lifts nothing and knows of no identity.
    let older = "INSERT INTO fence (number, raised_at, cause, system_identifier, timeline)
                 SELECT 2, clock_timestamp(), 'operator', system_identifier, timeline FROM fence WHERE number = 1";
    backed.sql(older).await;
    backed.looked_at().await;
    assert_eq!(causes(backed.database.config()).await, ["operator"]);
    Way::TwoEmptiedTables.restore(&backed).await;
    backed.looked_at().await;
    assert_eq!(causes(backed.database.config()).await, ["other_database", "operator"]);
}

#[tokio::test]
async fn a_fence_that_is_lifted_after_a_planned_restore_does_not_come_back() {
    let backed = Backed::up().await;
    Way::CleanTables.restore(&backed).await;
    backed.looked_at().await;
    store(backed.database.config()).lift_fences(jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    let server = backed.serve().await;
    reserve_one(&mut client(&server).await, "three", "bob", "phone").await.unwrap();
    assert_eq!(causes(backed.database.config()).await, Vec::<String>::new());
}
