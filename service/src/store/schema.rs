//! What a database's schema is like, compared with the one that this version knows.

use super::{StoreError, get, migrate::embedded_migrations};
use std::{collections::HashSet, fmt, mem, sync::LazyLock};
use tokio_postgres::{Client, error::SqlState, types::Type};

/// Where the migrations that were made are recorded. Other programs that use refinery call theirs the same.
const HISTORY: &str = "refinery_schema_history";

/// Where the schema says which versions it serves.
const SERVED: &str = "served_schema";

const EXISTING: &str = "/* keypool: schema_tables */ \
                        SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL";
const APPLIED: &str = "/* keypool: schema_history */ \
                       SELECT COALESCE(version::bigint, 9223372036854775807), name::text, checksum::text \
                       FROM refinery_schema_history";
const LEAST: &str = "/* keypool: served_schema */ SELECT least FROM served_schema";

/// A migration of ours.
struct Known {
    version: i32,
    name: String,
    checksum: u64,
    /// The tables that it makes.
    tables: Vec<String>,
}

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let known = |migration: refinery::Migration| {
        let lines = migration.sql().unwrap_or_default().lines();
        let made = lines.filter_map(|line| line.strip_prefix("CREATE TABLE ")?.split(' ').next());
        Known {
            version: migration.version(),
            name: migration.name().to_owned(),
            checksum: migration.checksum(),
            tables: made.map(str::to_owned).collect(),
        }
    };
    let mut known: Vec<Known> = embedded_migrations().into_iter().map(known).collect();
    known.sort_by_key(|migration| migration.version);
    known
});

/// A migration that a database has.
struct Applied {
    version: i64,
    name: Option<String>,
    checksum: Option<String>,
}

/// A database's schema, compared with the one that this version knows. Its `Display` says what is wrong with it, and what to
/// change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// It is the one that this version knows.
    Current,
    /// It is older: migrate it.
    Behind {
        /// The schema's version; 0 for an empty database.
        found: i32,
        /// The version that is known.
        known: i32,
    },
    /// It is newer, and still serves this version, as while a newer one is rolled out.
    Expanded,
    /// It is newer, and does not serve this version any more: use a newer keypool.
    Ahead {
        /// The schema's version.
        found: i64,
        /// The version that is known.
        known: i32,
    },
    /// The history of its migrations is another program's, or was changed.
    Foreign {
        /// The first migration of ours that is missing from it or is another one.
        version: i32,
    },
    /// A table is missing that was made, as after half a restore.
    Incomplete {
        /// The table.
        missing: &'static str,
    },
    /// There is a table that is still to be made: another program's, or ours without its history.
    Occupied {
        /// The table.
        table: &'static str,
    },
}

impl SchemaState {
    /// Why a service of this version can't use it, in short; none if it can.
    #[must_use]
    pub fn unserved(self) -> Option<&'static str> {
        match self {
            Self::Current | Self::Expanded => None,
            Self::Behind { .. } => Some("the database's schema is older than this version needs"),
            Self::Ahead { .. } => Some("the database's schema is newer than this version knows"),
            Self::Foreign { .. } => Some("the database's history of migrations is not keypool's"),
            Self::Incomplete { .. } => Some("the database's schema lacks a table"),
            Self::Occupied { .. } => {
                Some("the database's schema has tables without a history of migrations")
            }
        }
    }

    /// Whether the tables and their history contradict each other.
    fn is_mismatch(self) -> bool {
        matches!(self, Self::Foreign { .. } | Self::Incomplete { .. } | Self::Occupied { .. })
    }

    fn of(applied: &[Applied], existing: &HashSet<String>, least: Option<i32>) -> Self {
        let known = KNOWN.last().map_or(0, |migration| migration.version);
        let found = applied.iter().map(|one| one.version).max().unwrap_or_default();
        let as_found =
            |ours: &Known| applied.iter().find(|theirs| theirs.version == i64::from(ours.version));
        let other = |ours: &&Known| {
            as_found(ours).is_some_and(|theirs| {
                theirs.name.as_ref() != Some(&ours.name)
                    || theirs.checksum.as_ref() != Some(&ours.checksum.to_string())
            })
        };
        if let Some(ours) = KNOWN.iter().find(other) {
            return Self::Foreign { version: ours.version };
        }
        if found > i64::from(known) && least.is_some_and(|least| least > known) {
            return Self::Ahead { found, known };
        }
        let skipped = |ours: &&Known| i64::from(ours.version) < found && as_found(ours).is_none();
        if let Some(ours) = KNOWN.iter().find(skipped) {
            return Self::Foreign { version: ours.version };
        }
        for ours in KNOWN.iter() {
            for table in &ours.tables {
                match (as_found(ours).is_some(), existing.contains(table)) {
                    (true, false) => return Self::Incomplete { missing: table },
                    (false, true) => return Self::Occupied { table },
                    _ => {}
                }
            }
        }
        match i32::try_from(found) {
            Ok(found) if found < known => Self::Behind { found, known },
            Ok(found) if found == known => Self::Current,
            _ if least.is_some() => Self::Expanded,
            _ => Self::Incomplete { missing: SERVED },
        }
    }
}

impl fmt::Display for SchemaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => {
                f.write_str("the database's schema is the one that this version knows")
            }
            Self::Expanded => f.write_str(
                "the database's schema is newer than this version knows, and still serves it",
            ),
            Self::Behind { found, known } => write!(
                f,
                "the database's schema has version {found}, this keypool needs {known}: run `keypool migrate`, as the role \
                 that owns the tables"
            ),
            Self::Ahead { found, known } => write!(
                f,
                "the database's schema has version {found}, this keypool knows {known}: use a newer keypool"
            ),
            Self::Foreign { version } => write!(
                f,
                "the table {HISTORY} is another program's, or was changed: keypool's migration {version} is not in it. Give \
                 keypool a database or a schema of its own; if the table is keypool's, restore it"
            ),
            Self::Incomplete { missing } => write!(
                f,
                "the database's schema lacks {missing}, although {HISTORY} says that it was made: restore the whole database"
            ),
            Self::Occupied { table } => write!(
                f,
                "the database's schema has a table {table} of which {HISTORY} says nothing. Give keypool a database or a \
                 schema of its own; if the tables are keypool's, restore {HISTORY} too"
            ),
        }
    }
}

/// Compares the schema with the one that this version knows.
///
/// Its tables and their history are read one after the other, and another process may migrate the schema in between. So a mismatch
/// counts only if it is found twice in a row.
///
/// # Errors
/// If the database can't be asked.
pub async fn schema_state(client: &Client) -> Result<SchemaState, StoreError> {
    let mut state = read_state(client).await?;
    // No more migrations than these can be made meanwhile.
    for _ in KNOWN.iter() {
        if !state.is_mismatch() {
            break;
        }
        let before = mem::replace(&mut state, read_state(client).await?);
        if state == before {
            break;
        }
    }
    Ok(state)
}

async fn read_state(client: &Client) -> Result<SchemaState, StoreError> {
    let ours = KNOWN.iter().flat_map(|migration| &migration.tables).map(String::as_str);
    let names: Vec<&str> = [HISTORY].into_iter().chain(ours).collect();
    let existing = client.query_typed(EXISTING, &[(&names, Type::TEXT_ARRAY)]).await?;
    let existing: HashSet<String> =
        existing.iter().map(|row| get(row, 0)).collect::<Result<_, _>>()?;
    let applied = if existing.contains(HISTORY) { applied(client).await? } else { Vec::new() };
    let is_newer =
        applied.iter().any(|one| KNOWN.iter().all(|known| one.version > i64::from(known.version)));
    let least = if is_newer && existing.contains(SERVED) {
        let row = client.query_typed_opt(LEAST, &[]).await?;
        row.map(|row| get(&row, 0)).transpose()?
    } else {
        None
    };
    Ok(SchemaState::of(&applied, &existing, least))
}

/// What the history says. One that can't be read as a history has no migration of ours.
async fn applied(client: &Client) -> Result<Vec<Applied>, StoreError> {
    let rows = match client.query_typed(APPLIED, &[]).await {
        Err(error) if is_no_history(&error) => {
            return Ok(vec![Applied { version: i64::MAX, name: None, checksum: None }]);
        }
        rows => rows?,
    };
    let applied = rows.iter().map(|row| {
        Ok(Applied { version: get(row, 0)?, name: get(row, 1)?, checksum: get(row, 2)? })
    });
    applied.collect()
}

fn is_no_history(error: &tokio_postgres::Error) -> bool {
    let codes = [
        SqlState::UNDEFINED_COLUMN,
        SqlState::CANNOT_COERCE,
        SqlState::INVALID_TEXT_REPRESENTATION,
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
    ];
    error.code().is_some_and(|code| codes.contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Vec<Applied> {
        let applied = |known: &Known| Applied {
            version: known.version.into(),
            name: Some(known.name.clone()),
            checksum: Some(known.checksum.to_string()),
        };
        KNOWN.iter().map(applied).collect()
    }

    fn theirs(version: i64) -> Applied {
        Applied { version, name: Some("users".to_owned()), checksum: Some("7".to_owned()) }
    }

    fn tables(of: impl Iterator<Item = &'static Known>) -> HashSet<String> {
        of.flat_map(|known| known.tables.clone()).collect()
    }

    fn all_tables() -> HashSet<String> {
        tables(KNOWN.iter())
    }

    #[test]
    fn what_our_migrations_made_is_known() {
        let all = all_tables();
        for table in ["device", "pool", "key_package", "one_time", "last_resort", "revoked"] {
            assert!(all.contains(table), "{table}");
        }
        for table in ["spend_log", "fence", "beat", SERVED] {
            assert!(all.contains(table), "{table}");
        }
        assert_eq!(SchemaState::of(&ours(), &all, None), SchemaState::Current);
    }

    #[test]
    fn an_older_schema_is_behind() {
        let known = KNOWN.last().unwrap().version;
        let nothing = HashSet::new();
        assert_eq!(SchemaState::of(&[], &nothing, None), SchemaState::Behind { found: 0, known });
        for version in 1..known {
            let upto = ours().into_iter().filter(|one| one.version <= version.into());
            let upto: Vec<_> = upto.collect();
            let made = tables(KNOWN.iter().filter(|one| one.version <= version));
            let state = SchemaState::of(&upto, &made, None);
            assert_eq!(state, SchemaState::Behind { found: version, known });
        }
    }

    #[test]
    fn a_newer_schema_says_whom_it_serves() {
        let known = KNOWN.last().unwrap().version;
        let newer: Vec<_> = ours().into_iter().chain([theirs(1000)]).collect();
        let state = |least| SchemaState::of(&newer, &all_tables(), least);
        assert_eq!(state(Some(known)), SchemaState::Expanded);
        assert_eq!(state(Some(1000)), SchemaState::Ahead { found: 1000, known });
        assert_eq!(state(None), SchemaState::Incomplete { missing: SERVED });
    }

    #[test]
    fn a_history_of_another_program_is_foreign() {
        for versions in
            [vec![1], vec![1, 2, 3, 4], vec![9], (1..20).collect(), vec![20_250_101_120_000]]
        {
            let history: Vec<_> = versions.iter().copied().map(theirs).collect();
            let state = SchemaState::of(&history, &HashSet::new(), None);
            assert_eq!(state, SchemaState::Foreign { version: 1 }, "{versions:?}");
        }
    }

    #[test]
    fn a_history_that_was_changed_is_foreign() {
        let changes: [fn(&mut Vec<Applied>); 4] = [
            |history| history[1].name = Some("lane".to_owned()),
            |history| history[1].checksum = Some("1".to_owned()),
            |history| history[1].checksum = None,
            |history| drop(history.remove(1)),
        ];
        for change in changes {
            let mut history = ours();
            change(&mut history);
            let state = SchemaState::of(&history, &all_tables(), None);
            assert_eq!(state, SchemaState::Foreign { version: 2 });
        }
    }

    #[test]
    fn each_table_is_missed_and_each_that_is_too_many_is_seen() {
        for table in KNOWN.iter().flat_map(|known| &known.tables) {
            let mut without = all_tables();
            without.remove(table);
            let state = SchemaState::of(&ours(), &without, None);
            assert_eq!(state, SchemaState::Incomplete { missing: table });
            let only = HashSet::from([table.clone()]);
            assert_eq!(SchemaState::of(&[], &only, None), SchemaState::Occupied { table });
        }
    }
}
