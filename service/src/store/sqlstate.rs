//! What each error of PostgreSQL means to a statement of ours.
//!
//! The codes are those of Appendix A of PostgreSQL's documentation. A statement of ours is right for the schema that its
//! migrations made, so an error of its syntax or names is the database's state. An error of its values is ours.

use Meaning::{Conflict, Internal, Locked, Lost, Stale, Unavailable};

/// What the statement that met an error can expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It lost against another statement, and was not done: run it again.
    Conflict,
    /// It needs a row or table that another transaction has locked, and was not done.
    Locked,
    /// The connection ended: it may or may not have been done.
    Lost,
    /// The database can't do it for now.
    Unavailable,
    /// It fails again wherever it is run.
    Internal,
    /// It was prepared for a database or a connection that is no longer as it was, and was not done. On a new connection it may
    /// succeed.
    Stale(Persisting),
}

/// What an error means that a new connection meets too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Persisting {
    /// As [`Meaning::Unavailable`].
    Unavailable,
    /// As [`Meaning::Internal`].
    Internal,
}

/// The first row whose code an SQLSTATE begins with counts.
const MEANINGS: &[(&str, Meaning)] = &[
    ("08", Lost), // connection exceptions
    // "cached plan must not change result type"; or the database can't do it at all.
    ("0A", Stale(Persisting::Internal)),
    ("25P03", Lost), // the session was ended in an idle transaction
    ("25P04", Lost), // the session was ended in a long transaction
    // The session is in a transaction that it should not be in, or in none, or began while new ones were read-only (25006).
    ("25", Stale(Persisting::Unavailable)),
    // No such prepared statement, or no such portal: a pooler, or DISCARD ALL.
    ("26", Stale(Persisting::Unavailable)),
    ("34", Stale(Persisting::Unavailable)),
    ("28", Unavailable), // the role may not log in
    ("3D", Unavailable), // no such database
    ("3F", Unavailable), // no such schema
    ("40002", Internal), // an integrity constraint at the commit
    ("40003", Lost),     // nobody knows whether it was committed
    ("40", Conflict),    // serialization failures and deadlocks
    ("42601", Internal), // syntax
    ("42602", Internal), // a name that can't be one
    ("42622", Internal), // a name that is too long
    ("42939", Internal), // a name that is reserved
    // The type of a parameter can't be told, a type is gone, or a prepared statement of that name is there already.
    ("42P18", Stale(Persisting::Unavailable)),
    ("42704", Stale(Persisting::Unavailable)),
    ("42P05", Stale(Persisting::Unavailable)),
    // A table, column, function, index or right that the statement needs is missing or another one.
    ("42", Unavailable),
    ("53", Unavailable),    // resources are used up
    ("55P04", Internal),    // a new value of an enumeration
    ("55P03", Locked),      // a lock can't be had in time
    ("55", Unavailable),    // an object is in use, or not yet what it must be
    ("57014", Unavailable), // canceled, or its time was up
    ("57P", Lost), // the server stops, crashed or starts; the database was dropped; the session was idle
    ("57", Unavailable), // other operator intervention
    ("58", Unavailable), // errors of the system
    ("72", Conflict), // the snapshot was too old
    ("F0", Unavailable), // the server's configuration
    ("HV", Unavailable), // foreign data
    ("XX001", Internal), // data is damaged
    ("XX002", Internal), // an index is damaged
    // What a cached plan needs is gone; or with Citus, the connection to a node.
    ("XX", Stale(Persisting::Internal)),
];

/// What an SQLSTATE means. Values, constraints, and errors that functions raise are [`Meaning::Internal`], as is a code that
/// isn't PostgreSQL's.
pub(super) fn meaning(sqlstate: &str) -> Meaning {
    let row = MEANINGS.iter().find(|(start, _)| sqlstate.starts_with(start));
    row.map_or(Internal, |&(_, meaning)| meaning)
}

#[cfg(test)]
mod tests;
