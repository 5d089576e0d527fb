//! The processes of a run: three replicas, and a PostgreSQL of its own.

mod books;
mod postgres;
mod replica;
pub(crate) mod serve;

pub(crate) use books::read_books;
pub(crate) use postgres::Postgres;
pub(crate) use replica::{Program, Replica};
