//! The settings of every session. What `ALTER DATABASE`, `ALTER ROLE` or `postgresql.conf` set by default must change neither
//! what keypool promises nor how it performs. docs/decisions/0033-pinned-settings.md goes through all settings.

use super::{Fault, Session, StoreError, get};
use std::{sync::Arc, time::Duration};
use tokio::sync::OnceCell;
use tokio_postgres::{
    Client, Config, Connection, Error, SimpleQueryMessage, Socket, error::SqlState,
    tls::MakeTlsConnect, types::ToSql,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What a session is for, which decides how long its statements may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A statement of one caller. None waits for ever, whatever happened to its caller.
    Pool,
    /// A batch, which keeps others waiting.
    Lane,
    /// A migration may take its time.
    Migration,
}

impl Purpose {
    /// How long a statement waits for its answer. PostgreSQL says so when it has ended one, so a connection that says nothing for
    /// longer has died.
    pub(super) fn answer_timeout(self) -> Duration {
        match self {
            Self::Lane => Duration::from_secs(12),
            Self::Pool => Duration::from_secs(32),
            Self::Migration => Duration::MAX,
        }
    }

    fn limits(self) -> [(&'static str, &'static str); 3] {
        let [statement, lock, idle] = match self {
            Self::Pool => ["30s", "2s", "30s"],
            // Lanes pass over locked rows: they hardly ever wait for a lock.
            Self::Lane => ["10s", "100ms", "30s"],
            Self::Migration => ["0", "0", "0"],
        };
        [
            ("statement_timeout", statement),
            ("lock_timeout", lock),
            ("idle_in_transaction_session_timeout", idle),
        ]
    }
}

/// Settings that decide what statements mean, and how they see each other. Promises rest on them.
const MEANING: [(&str, &str); 16] = [
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("row_security", "on"),
    ("transform_null_equals", "off"),
    ("array_nulls", "on"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("quote_all_identifiers", "off"),
    ("exit_on_error", "off"),
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("restrict_nonsystem_relation_kind", ""),
    ("default_table_access_method", "heap"),
];

/// Settings that decide how statements are planned and run. They are planned once, for arrays of any length and when tables may
/// still be empty: no plan may read a whole table, and none is worth compiling or doing in parallel.
const PLANS: [(&str, &str); 53] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_async_append", "on"),
    ("enable_distinct_reordering", "on"),
    ("enable_gathermerge", "on"),
    ("enable_group_by_reordering", "on"),
    ("enable_hashagg", "on"),
    ("enable_hashjoin", "on"),
    ("enable_incremental_sort", "on"),
    ("enable_indexonlyscan", "on"),
    ("enable_indexscan", "on"),
    ("enable_material", "on"),
    ("enable_memoize", "on"),
    ("enable_mergejoin", "on"),
    ("enable_nestloop", "on"),
    ("enable_parallel_append", "on"),
    ("enable_parallel_hash", "on"),
    ("enable_partition_pruning", "on"),
    ("enable_partitionwise_aggregate", "off"),
    ("enable_partitionwise_join", "off"),
    ("enable_presorted_aggregate", "on"),
    ("enable_self_join_elimination", "on"),
    ("enable_sort", "on"),
    ("enable_tidscan", "on"),
    ("constraint_exclusion", "partition"),
    ("from_collapse_limit", "8"),
    ("join_collapse_limit", "8"),
    ("geqo", "off"),
    ("cursor_tuple_fraction", "0.1"),
    ("recursive_worktable_factor", "10"),
    ("seq_page_cost", "1"),
    ("random_page_cost", "4"),
    ("cpu_tuple_cost", "0.01"),
    ("cpu_index_tuple_cost", "0.005"),
    ("cpu_operator_cost", "0.0025"),
    ("effective_cache_size", "4GB"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("force_parallel_mode", "off"),
    ("debug_parallel_query", "off"),
    ("work_mem", "4MB"),
    ("hash_mem_multiplier", "2"),
    ("backend_flush_after", "0"),
    ("client_min_messages", "warning"),
    ("debug_print_parse", "off"),
    ("debug_print_rewritten", "off"),
    ("debug_print_plan", "off"),
    ("client_connection_check_interval", "0"),
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "30s"),
];

/// What lifts the timeouts and the isolation that a session begins with, so that the rest can be set at leisure. Each is a
/// transaction of its own.
const LIFT: [&str; 2] = [
    "SET idle_session_timeout = 0; SET statement_timeout = 0; SET default_transaction_isolation = 'read committed'; \
     SET default_transaction_deferrable = off",
    "SELECT pg_catalog.set_config('transaction_timeout', '0', false) \
     WHERE pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL",
];

/// The same in the startup message, which is in time whatever the timeouts are. Not every pooler takes it.
const LIFTED: &str = "-c idle_session_timeout=0 -c statement_timeout=0 -c exit_on_error=off";

/// Where unqualified names lead now, and where the tables are already. The search path may lead to another `=` than PostgreSQL's.
const FIND_SCHEMA: &str = "\
    SELECT 'path', s.name FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) AS s (name); \
    SET LOCAL search_path = pg_catalog, pg_temp; \
    SELECT 'home', n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relname IN ('device', 'pool', 'key_package', 'one_time', 'last_resort', 'revoked', 'spend_log') \
      AND c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND has_schema_privilege(n.oid, 'USAGE') \
    GROUP BY n.nspname HAVING count(*) = 7 ORDER BY n.nspname";

/// Which of a session's settings are not as they were pinned. Of the planner's none: a pooler may lose them, at a cost.
const LOST_SETTING: &str = include_str!("sql/lost_setting.sql");

/// The schema of the tables, found by the first session of a process and pinned by all. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Schema(Arc<OnceCell<String>>);

impl Schema {
    /// The schema, which is looked for if no session has found it yet. `named` says that the URL names it.
    async fn find(&self, client: &Client, named: bool) -> Result<&str, StoreError> {
        let find = async {
            let rows = client.simple_query(FIND_SCHEMA).await?;
            let (mut path, mut homes) = (Vec::new(), Vec::new());
            for row in &rows {
                let SimpleQueryMessage::Row(row) = row else { continue };
                let list = if row.get(0) == Some("path") { &mut path } else { &mut homes };
                list.extend(row.get(1).map(str::to_owned));
            }
            choose(&path, &homes, named).map_err(StoreError::unavailable)
        };
        Ok(self.0.get_or_try_init(|| find).await?.as_str())
    }

    /// The schema; empty if no session has found it yet.
    pub(super) fn name(&self) -> &str {
        self.0.get().map_or("", String::as_str)
    }
}

/// The schema that the tables are in or will be in: the first of the path that has them; else the one that has them, unless the URL
/// names another, so that a changed search path does not lead to empty tables; else the first of the path.
fn choose(path: &[String], homes: &[String], named: bool) -> Result<String, Fault> {
    if let Some(home) = path.iter().find(|schema| homes.contains(schema)) {
        return Ok(home.clone());
    }
    match (homes, path) {
        ([home], _) if !named => Ok(home.clone()),
        ([_, _, ..], _) if !named => Err(Fault::ManySchemas),
        (_, [first, ..]) => Ok(first.clone()),
        (_, []) => Err(Fault::NoSchema),
    }
}

/// The path that leads to a schema, and from there nowhere: `pg_catalog` comes first unless it is named.
fn path_to(schema: &str) -> String {
    format!("\"{}\", pg_temp", schema.replace('"', "\"\""))
}

/// Connects, and lifts the timeouts that a session begins with.
pub(super) async fn connect(config: &Config, tls: MakeRustlsConnect) -> Result<Connected, Error> {
    let connected = Box::pin(config.connect(tls.clone())).await?;
    match lift(connected).await {
        Err(error) if is_overtaken(&error) => {
            let mut config = config.clone();
            let named = config.get_options().map(|named| format!("{named} ")).unwrap_or_default();
            config.options(named + LIFTED);
            lift(Box::pin(config.connect(tls)).await?).await
        }
        lifted => lifted,
    }
}

type Connected =
    (Client, Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>);

async fn lift((client, mut connection): Connected) -> Result<Connected, Error> {
    {
        let lift = async {
            tokio::try_join!(client.batch_execute(LIFT[0]), client.batch_execute(LIFT[1]))
        };
        tokio::select! {
            biased;
            lifted = lift => drop(lifted?),
            ended = &mut connection => ended?,
        }
    }
    Ok((client, connection))
}

/// Whether a timeout that the database sets by default was faster. A session that it has ended may not have said why.
fn is_overtaken(error: &Error) -> bool {
    let timeouts = [
        SqlState::QUERY_CANCELED,
        SqlState::IDLE_SESSION_TIMEOUT,
        SqlState::from_code("25P04"), // transaction_timeout
    ];
    error.code().is_none_or(|code| timeouts.contains(code))
}

/// Pins all settings of a new session, in one round trip once the schema is known. `named` says that the URL names the schema.
pub(super) async fn pin(
    client: &Client,
    schema: &Schema,
    named: bool,
    purpose: Purpose,
) -> Result<(), StoreError> {
    let schema = schema.find(client, named).await?;
    Ok(client.batch_execute(&pinning(schema, purpose)).await?)
}

/// The statement that pins what this version of PostgreSQL has.
fn pinning(schema: &str, purpose: Purpose) -> String {
    let path = path_to(schema);
    let others = [("search_path", path.as_str())];
    let all = others.iter().chain(&MEANING).chain(&PLANS);
    let limits = purpose.limits();
    let values: Vec<String> =
        all.chain(&limits).map(|(name, value)| format!("('{name}', {})", literal(value))).collect();
    // Commits wait for the disk, and for standbys as far as the database is told to. The first column that is computed pins the
    // path, so that the rest is PostgreSQL's own.
    format!(
        "SET search_path = pg_catalog, pg_temp; \
         SELECT pg_catalog.set_config('synchronous_commit', CASE pg_catalog.current_setting('synchronous_commit') \
         WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false); \
         SELECT pg_catalog.set_config(s.name, s.value, false) FROM (VALUES {}) AS s (name, value) \
         WHERE pg_catalog.current_setting(s.name, true) IS NOT NULL",
        values.join(", ")
    )
}

/// A string in SQL, whatever `standard_conforming_strings` says.
fn literal(value: &str) -> String {
    format!("E'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

impl Session {
    /// A setting that promises rest on and that this session has lost, as behind a pooler that gives each transaction another
    /// session.
    pub(super) async fn lost_setting(&mut self) -> Result<Option<&'static str>, StoreError> {
        let (names, values): (Vec<&str>, Vec<&str>) = MEANING.into_iter().unzip();
        let schema = self.schema_name();
        let params: [&(dyn ToSql + Sync); 3] = [&names, &values, &schema];
        let rows = self.rows(LOST_SETTING, &params).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let lost: &str = get(row, "name")?;
        let known = MEANING.iter().map(|(name, _)| *name).chain(["search_path"]);
        Ok(Some(known.into_iter().find(|name| *name == lost).unwrap_or("synchronous_commit")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(path: &[&str], homes: &[&str], named: bool) -> Option<String> {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        choose(&owned(path), &owned(homes), named).ok()
    }

    #[test]
    fn a_changed_search_path_leads_to_the_tables_that_are_there() {
        for (path, homes, named, expected) in [
            (&["public"][..], &[][..], false, Some("public")),
            (&["public"], &["public"], false, Some("public")),
            (&["decoy", "public"], &["public"], false, Some("public")),
            (&["elsewhere"], &["public"], false, Some("public")),
            (&["elsewhere"], &["public"], true, Some("elsewhere")),
            (&["b", "a"], &["a", "b"], false, Some("b")),
            (&["c"], &["a", "b"], false, None),
            (&["c"], &["a", "b"], true, Some("c")),
            (&[], &["public"], false, Some("public")),
            (&[], &[], false, None),
        ] {
            let chosen = chosen(path, homes, named);
            assert_eq!(chosen.as_deref(), expected, "{path:?} {homes:?} {named}");
        }
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(path_to("Mine \"and\" yours"), "\"Mine \"\"and\"\" yours\", pg_temp");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }

    #[test]
    fn each_setting_is_pinned_once() {
        let mut names: Vec<_> = MEANING.iter().chain(&PLANS).map(|(name, _)| name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    /// Each setting that a session may change is decided about, those of later versions too.
    #[cfg(feature = "testing")]
    #[tokio::test]
    async fn the_decision_names_every_setting() {
        let (client, _database) = session().await;
        let query = "SELECT name FROM pg_settings WHERE context IN ('user', 'superuser')";
        let decision = include_str!("../../../docs/decisions/0033-pinned-settings.md");
        let words: Vec<&str> = decision.split('`').collect();
        for row in client.query(query, &[]).await.unwrap() {
            let name: &str = row.get(0);
            assert!(words.contains(&name), "{name}");
        }
    }

    #[cfg(feature = "testing")]
    #[tokio::test]
    async fn values_are_as_postgresql_shows_them() {
        let (client, _database) = session().await;
        let shown = "SELECT current_setting($1, true)";
        for (name, value) in MEANING.iter().chain(&PLANS).chain(&Purpose::Lane.limits()) {
            let row = client.query_one(shown, &[name]).await.unwrap();
            let on_a_socket = name.starts_with("tcp_");
            let found: Option<String> = row.get(0);
            assert!(found.is_none_or(|found| on_a_socket || found == *value), "{name}");
        }
        let path: String = client.query_one(shown, &[&"search_path"]).await.unwrap().get(0);
        assert_eq!(path, "\"public\", pg_temp");
    }

    #[cfg(feature = "testing")]
    #[tokio::test]
    async fn a_setting_that_a_session_loses_is_noticed() {
        let database = crate::testing::database::TestDatabase::create().await;
        let store = super::super::Store::new(
            super::super::Connector::plain(database.config()),
            Arc::new(crate::clock::SystemClock),
            1,
            Duration::from_secs(30),
        );
        let mut session = store.unwrap().session().await.unwrap();
        assert_eq!(session.lost_setting().await.unwrap(), None);
        for (name, other) in [
            ("synchronous_commit", "remote_write"),
            ("default_transaction_isolation", "serializable"),
            ("search_path", "nowhere"),
        ] {
            session.set(&format!("SET {name} = '{other}'")).await;
            assert_eq!(session.lost_setting().await.unwrap(), Some(name));
            session.set(&format!("SET {name} = DEFAULT")).await;
            session.set("SET synchronous_commit = on").await; // not the default here
            assert_eq!(session.lost_setting().await.unwrap(), None, "{name}");
        }
    }

    /// A session as lanes have it.
    #[cfg(feature = "testing")]
    async fn session() -> (Client, crate::testing::database::TestDatabase) {
        let database = crate::testing::database::TestDatabase::create().await;
        let connector = super::super::Connector::plain(database.config());
        let (client, connection) = connector.connect().await.unwrap();
        tokio::spawn(connection);
        connector.pin(&client, Purpose::Lane).await.unwrap();
        (client, database)
    }
}
