//! The rules of the pool: no tonic, no SQL.

pub mod validation;
