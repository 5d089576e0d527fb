//! What a database must be like, where no session can see to it. `keypool serve`, `migrate` and `doctor` judge by this, in
//! these words.

use super::{StoreError, get};
use std::{error::Error, io};
use tokio_postgres::{Client, Row, error::SqlState};

/// Reads what there is to judge, and the database's time.
pub(super) const CHECK: &str = include_str!("sql/check.sql");

/// The oldest major version of PostgreSQL that has all that the statements use.
const OLDEST_POSTGRES: i32 = 15;

/// Why keypool can't keep its promises on a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its PostgreSQL lacks what the statements use.
    #[error("the database is PostgreSQL {found}: {OLDEST_POSTGRES} or newer is needed")]
    OldPostgres {
        /// Its major version.
        found: i32,
    },
    /// It can't store every user and device id, or compares them in another way.
    #[error("the database's encoding is {found}: UTF8 is needed")]
    NotUtf8 {
        /// Its encoding.
        found: String,
    },
    /// A crash can lose or damage what was committed.
    #[error("{setting} is off: a crash of the database can lose what callers were told")]
    Volatile {
        /// The setting of PostgreSQL.
        setting: &'static str,
    },
    /// It follows a primary.
    #[error("the database is a standby: nothing can be written")]
    Standby,
    /// Its new transactions are read-only.
    #[error("the database is read-only: nothing can be written")]
    ReadOnly,
    /// Nothing says which tables are meant.
    #[error("several schemas have keypool's tables, and search_path names none of them")]
    ManySchemas,
    /// There is no place for the tables.
    #[error("search_path names no schema that exists and may be used")]
    NoSchema,
    /// A session has not kept a setting that promises rest on.
    #[error("sessions lose the setting {setting}, which the service has pinned")]
    LostSetting {
        /// The setting of PostgreSQL.
        setting: &'static str,
    },
    /// Commits wait for a synchronous standby that does not answer.
    #[error("commits hang: the database waits for a synchronous standby")]
    CommitsHang,
    /// The service's role may not do what the service needs.
    #[error("the service's role lacks rights on the tables: keypool doctor names them")]
    LacksRights,
    /// A restore of its tables may go unnoticed.
    #[error("triggers that notice restores are disabled: keypool migrate enables them")]
    Unguarded,
    /// It fails to write.
    #[error("the database refuses to write: its log says why")]
    RefusesWrites,
}

impl Fault {
    /// Whether it may pass while the database runs, so that it is worth waiting.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Standby
            | Self::ReadOnly
            | Self::ManySchemas
            | Self::NoSchema
            | Self::LostSetting { .. }
            | Self::CommitsHang
            | Self::LacksRights
            | Self::Unguarded
            | Self::RefusesWrites => true,
            Self::OldPostgres { .. } | Self::NotUtf8 { .. } | Self::Volatile { .. } => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::OldPostgres { .. } => "upgrade PostgreSQL",
            Self::NotUtf8 { .. } => "create another database with ENCODING 'UTF8'",
            Self::Volatile { .. } => "set it to on in PostgreSQL's configuration",
            Self::Standby => {
                "connect to the primary: with several hosts in the URL, add target_session_attrs=read-write"
            }
            Self::ReadOnly => {
                "find out who set default_transaction_read_only and why, then set it to off: by ALTER SYSTEM, ALTER \
                 DATABASE or ALTER ROLE"
            }
            Self::ManySchemas => "name one in the URL, as in options=-csearch_path%3Dkeypool",
            Self::NoSchema => {
                "create it, or name another in the URL, as in options=-csearch_path%3Dkeypool"
            }
            Self::LostSetting { .. } => {
                "let the pooler keep sessions, or set the same for the role: see docs/growing.md"
            }
            Self::CommitsHang => "bring the standby back, or change synchronous_standby_names",
            Self::LacksRights => {
                "set runtime_role, and run `keypool migrate` as the role that owns the tables; where row security hides \
                 rows, give the role a policy with USING (true), or disable it"
            }
            Self::Unguarded => "run `keypool migrate` as the role that owns the tables",
            Self::RefusesWrites => {
                "look at PostgreSQL's log: a full disk, lost rights, broken storage"
            }
        }
    }

    /// The fault that an error is about, if it is one.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let found = chain(error).find_map(|cause| cause.downcast_ref().and_then(StoreError::fault));
        found.cloned().or_else(|| Self::of_refused_connection(error))
    }

    /// The fault because of which a connection that must be able to write was refused.
    fn of_refused_connection(error: &(dyn Error + 'static)) -> Option<Self> {
        // Of the driver, for target_session_attrs=read-write. It does not tell a standby from a read-only primary.
        let refuses = |error: &(dyn Error + 'static)| {
            error.downcast_ref().is_some_and(|error: &io::Error| {
                error.kind() == io::ErrorKind::PermissionDenied
                    && error.to_string().contains("does not allow writes")
            })
        };
        chain(error).any(refuses).then_some(Self::ReadOnly)
    }
}

/// Why a database can't be asked, in words that give nothing away: the log has the cause.
pub(crate) fn why_away(error: &(dyn Error + 'static)) -> String {
    if let Some(fault) = Fault::of(error) {
        return fault.to_string();
    }
    let says = match sql_state(error) {
        Some(code) if *code == SqlState::CANNOT_CONNECT_NOW => {
            "the database is starting up or shutting down"
        }
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
            "the database has no connection left"
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => "the database does not exist",
        Some(code) if code.code().starts_with("28") => {
            "the database refuses the role or its password"
        }
        Some(code) if code.code().starts_with("42") => {
            "the database refuses a statement: the log says why"
        }
        _ => "the database does not answer",
    };
    says.to_owned()
}

/// Whether an error is one that the same database may not give later: it is away, busy or changes its state.
pub(crate) fn may_pass(error: &(dyn Error + 'static)) -> bool {
    let is_driver = chain(error).any(|cause| cause.is::<tokio_postgres::Error>());
    match sql_state(error).map(SqlState::code) {
        // Connections, credentials that are changed, a database that is created, conflicts, resources, locks and states of
        // objects, operators, the system, and read-only transactions.
        Some(code) => {
            let classes = ["08", "28", "3D", "40", "53", "55", "57", "58"];
            code == "25006" || classes.iter().any(|class| code.starts_with(class))
        }
        // The connection was lost, or could not be made.
        None => is_driver,
    }
}

fn sql_state<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a SqlState> {
    chain(error).find_map(|cause| {
        let of_driver = cause.downcast_ref().and_then(tokio_postgres::Error::code);
        of_driver.or_else(|| cause.downcast_ref().and_then(StoreError::code))
    })
}

/// An error and its causes.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// What a database is like, as far as it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    version: i32,
    encoding: String,
    fsync: bool,
    full_page_writes: bool,
    is_standby: bool,
    is_read_only: bool,
}

impl Facts {
    pub(super) fn of(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            version: get(row, "version")?,
            encoding: get(row, "encoding")?,
            fsync: get(row, "fsync")?,
            full_page_writes: get(row, "full_page_writes")?,
            is_standby: get(row, "is_standby")?,
            is_read_only: get(row, "is_read_only")?,
        })
    }

    /// What is wrong, what does not pass first.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let Self { version, fsync, full_page_writes, is_standby, is_read_only, .. } = *self;
        let utf8 = self.encoding == "UTF8";
        let faults = [
            (version < OLDEST_POSTGRES).then_some(Fault::OldPostgres { found: version }),
            (!utf8).then(|| Fault::NotUtf8 { found: self.encoding.clone() }),
            (!fsync).then_some(Fault::Volatile { setting: "fsync" }),
            (!full_page_writes).then_some(Fault::Volatile { setting: "full_page_writes" }),
            is_standby.then_some(Fault::Standby),
            // A standby is read-only as well.
            (is_read_only && !is_standby).then_some(Fault::ReadOnly),
        ];
        faults.into_iter().flatten().collect()
    }
}

/// What keeps keypool from using the database of a connection, what does not pass first.
///
/// # Errors
/// If the database can't be asked.
pub(crate) async fn faults(client: &Client) -> Result<Vec<Fault>, StoreError> {
    Ok(Facts::of(&client.query_one(CHECK, &[]).await?)?.faults())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Facts {
        Facts {
            version: OLDEST_POSTGRES,
            encoding: "UTF8".to_owned(),
            fsync: true,
            full_page_writes: true,
            is_standby: false,
            is_read_only: false,
        }
    }

    #[test]
    fn each_fault_is_found() {
        assert_eq!(sound().faults(), []);
        let old = Facts { version: 14, ..sound() };
        assert_eq!(old.faults(), [Fault::OldPostgres { found: 14 }]);
        let latin = Facts { encoding: "LATIN1".to_owned(), ..sound() };
        assert_eq!(latin.faults(), [Fault::NotUtf8 { found: "LATIN1".to_owned() }]);
        let volatile = Facts { fsync: false, full_page_writes: false, ..sound() };
        let settings = ["fsync", "full_page_writes"];
        assert_eq!(volatile.faults(), settings.map(|setting| Fault::Volatile { setting }));
        let read_only = Facts { is_read_only: true, ..sound() };
        assert_eq!(read_only.faults(), [Fault::ReadOnly]);
        let standby = Facts { is_standby: true, ..read_only };
        assert_eq!(standby.faults(), [Fault::Standby]);
    }

    #[test]
    fn what_does_not_pass_is_told_first() {
        let both = Facts { is_standby: true, fsync: false, ..sound() };
        let passes: Vec<_> = both.faults().iter().map(Fault::may_pass).collect();
        assert_eq!(passes, [false, true]);
    }
}
