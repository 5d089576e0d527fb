//! Databases whose defaults are hostile: whatever a session may set is set to a value that would break the service or slow it down,
//! were it not pinned.
//!
//! Tests of a process whose variable `KEYPOOL_TEST_DEFAULTS` is `database`, `role` or `system` get such databases only, so that
//! any test can be run again with them. What the test itself asks the database is not affected.

use super::connect;
use crate::store::{Connector, migrate};
use std::env;
use tokio_postgres::{Client, Config, Row};

/// The variable that makes all databases of a process hostile.
pub const VARIABLE: &str = "KEYPOOL_TEST_DEFAULTS";

/// Where hostile defaults are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hostile {
    /// By `ALTER DATABASE`. The database has the tables already, and the search path leads to decoys first.
    Database,
    /// By `ALTER ROLE … IN DATABASE`.
    Role,
    /// By `ALTER SYSTEM`, for the whole cluster.
    System,
}

/// With these a test talks to its database as if the defaults were PostgreSQL's.
const CALM: &str = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0 \
                    -c default_transaction_isolation=read\\ committed -c default_transaction_deferrable=off \
                    -c search_path=public -c TimeZone=UTC -c row_security=on -c transform_null_equals=off -c exit_on_error=off \
                    -c standard_conforming_strings=on -c client_min_messages=warning -c jit=off";

/// What no session pins, with the reason in docs/decisions/0033-pinned-settings.md: what only says where things are or what is
/// logged, and what would end PostgreSQL or the test itself.
const SPARED: [&str; 27] = [
    "allow_in_place_tablespaces",
    "allow_system_table_mods",
    "application_name",
    "backtrace_functions",
    "commit_delay",
    "debug_discard_caches",
    "default_tablespace",
    "default_text_search_config",
    "default_transaction_read_only",
    "dynamic_library_path",
    "extension_control_path",
    "extension_destdir",
    "ignore_checksum_failure",
    "jit_dump_bitcode",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "max_stack_depth",
    "temp_file_limit",
    "temp_tablespaces",
    "timezone_abbreviations",
    "track_activities",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "zero_damaged_pages",
];

impl Hostile {
    /// What this process's databases are like; none for PostgreSQL's own defaults.
    ///
    /// # Panics
    /// If the variable has another value than one of the three.
    pub fn of_process() -> Option<Self> {
        match env::var(VARIABLE).ok()?.as_str() {
            "database" => Some(Self::Database),
            "role" => Some(Self::Role),
            "system" => Some(Self::System),
            other => panic!("{VARIABLE} is {other}"),
        }
    }

    /// Connects a test as if the defaults were PostgreSQL's.
    pub(super) fn calm(config: &mut Config) {
        config.options(CALM);
    }

    /// Gives a new database its defaults, by a connection to it. Those of the system are there already.
    pub(super) async fn set(self, config: &Config) {
        let client = connect(config).await.expect("the test cluster serves");
        let (database, user) = (config.get_dbname(), config.get_user());
        let target = match self {
            Self::Database => {
                migrate(&Connector::plain(config.clone()), None)
                    .await
                    .expect("a new database can be migrated");
                client.batch_execute(DECOYS).await.expect("decoys can be made");
                format!("DATABASE {}", database.unwrap_or_default())
            }
            Self::Role => {
                let [user, database] = [user, database].map(Option::unwrap_or_default);
                format!("ROLE {user} IN DATABASE {database}")
            }
            Self::System => return,
        };
        let settings = self.settings(&client).await;
        let settings =
            settings.iter().map(|(name, value)| format!("ALTER {target} SET {name} = {value};"));
        let settings: String = settings.collect();
        client.batch_execute(&settings).await.expect("a database takes settings");
    }

    /// Gives a cluster its defaults.
    pub(super) async fn set_system(config: &Config) {
        let client = connect(config).await.expect("the test cluster serves");
        for (name, value) in Self::System.settings(&client).await {
            let set = format!("ALTER SYSTEM SET {name} = {value}");
            if let Err(error) = client.batch_execute(&set).await {
                // Some can be set for a session only.
                let only = error
                    .as_db_error()
                    .is_some_and(|error| error.message().contains("cannot be changed"));
                assert!(only, "{name}: {error:?}");
            }
        }
        client.batch_execute("SELECT pg_reload_conf()").await.expect("the test cluster reloads");
        super::cluster::eventually("the settings are loaded", async || {
            let client = connect(config).await.expect("the test cluster serves");
            let query = "SELECT reset_val = '64' FROM pg_settings WHERE name = 'work_mem'";
            client.query_one(query, &[]).await.is_ok_and(|row| row.get(0))
        })
        .await;
    }

    /// The settings that a session may change, with hostile values as SQL writes them.
    async fn settings(self, client: &Client) -> Vec<(String, String)> {
        let query = "SELECT name, vartype, boot_val, min_val, max_val, enumvals FROM pg_settings \
                     WHERE context IN ('user', 'superuser') AND name !~ '^(log|trace)_' ORDER BY name";
        let rows = client.query(query, &[]).await.expect("settings can be asked for");
        let named = |row: &Row| {
            let (name, value): (String, String) = (row.get("name"), self.value(row)?);
            // The path is a list, which is not quoted as a whole.
            let value = if name == "search_path" { value } else { format!("'{value}'") };
            Some((name, value))
        };
        rows.iter().filter_map(named).collect()
    }

    fn value<'a>(self, row: &'a Row) -> Option<String> {
        let (name, kind): (&str, &str) = (row.get("name"), row.get("vartype"));
        let boot: Option<&'a str> = row.get("boot_val");
        let [least, greatest]: [Option<&'a str>; 2] =
            ["min_val", "max_val"].map(|column| row.get(column));
        if SPARED.contains(&name) {
            return None;
        }
        let other = |bound: Option<&'a str>| bound.filter(|bound| Some(*bound) != boot);
        match kind {
            "bool" => Some(if boot == Some("on") { "off" } else { "on" }.to_owned()),
            // What loses most.
            "enum" if name == "synchronous_commit" && self != Self::System => {
                Some("off".to_owned())
            }
            "enum" => {
                let values: Vec<String> = row.get("enumvals");
                let others: Vec<_> =
                    values.iter().filter(|one| Some(one.as_str()) != boot).collect();
                others.get(self as usize % others.len().max(1)).map(|value| (*value).clone())
            }
            _ if name.ends_with("_timeout") || name.starts_with("tcp_") => Some("1".to_owned()),
            "integer" if name.contains("parallel") => greatest.map(str::to_owned),
            "integer" => other(least).or(other(greatest)).map(str::to_owned),
            "real" if name.ends_with("_cost") => Some("1e10".to_owned()),
            "real" => other(least).or(other(greatest)).map(str::to_owned),
            _ => match name {
                "search_path" if self == Self::Database => {
                    Some("decoy, pg_catalog, public".to_owned())
                }
                "search_path" => Some("nowhere, public".to_owned()),
                "DateStyle" => Some("German".to_owned()),
                "TimeZone" => Some("Pacific/Kiritimati".to_owned()),
                "client_encoding" => Some("LATIN1".to_owned()),
                _ => None,
            },
        }
    }
}

/// Tables and functions of the names that statements use, and an operator.
const DECOYS: &str = "
    CREATE SCHEMA decoy;
    DO $$
    DECLARE name text;
    BEGIN
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'spend_log' LOOP
            EXECUTE format('CREATE TABLE decoy.%I (LIKE public.%I INCLUDING ALL)', name, name);
        END LOOP;
    END $$;
    CREATE FUNCTION decoy.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT 'not at all' $$;
    CREATE FUNCTION decoy.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT 'whatever' $$;
    CREATE FUNCTION decoy.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '1970-01-01' $$;
    CREATE FUNCTION decoy.unequal(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT $1 OPERATOR(pg_catalog.<>) $2 $$;
    CREATE OPERATOR decoy.= (LEFTARG = text, RIGHTARG = text, FUNCTION = decoy.unequal);
";
