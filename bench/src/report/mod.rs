//! What is told at the end.

mod median;
mod plot;
mod summary;
mod table;

pub(crate) use median::median;
pub(crate) use plot::{Curve, Point, plot};
pub(crate) use summary::Summary;
pub(crate) use table::{Row, table};

use crate::error::Error;
use serde::Serialize;
use std::io::{self, Write};

/// Prints one JSON object to standard output.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)
        .map_err(io::Error::other)
        .and_then(|()| writeln!(out))
        .map_err(Error::io("write to standard output"))
}

/// A number as people want it: three digits behind the point for small ones, none for large ones.
pub(crate) fn rounded(number: f64) -> f64 {
    let digits = if number.abs() < 100.0 { 1000.0 } else { 10.0 };
    (number * digits).round() / digits
}
