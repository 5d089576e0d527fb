//! Histories as files: a JSON object in each line.

use super::{Books, Fault, History, Incident, Record};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::Path,
};

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Call(Record),
    Fault(Fault),
    Incident(Incident),
    Books(Books),
}

/// Writes a history.
pub(crate) fn write(history: &History, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let records = history.records.iter().cloned().map(Line::Call);
    let faults = history.faults.iter().cloned().map(Line::Fault);
    let incidents = history.incidents.iter().cloned().map(Line::Incident);
    for line in records.chain(faults).chain(incidents).chain([Line::Books(history.books.clone())]) {
        serde_json::to_writer(&mut file, &line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// Reads a history.
pub(crate) fn read(path: &Path) -> io::Result<History> {
    let mut history = History::default();
    for line in BufReader::new(File::open(path)?).lines() {
        match serde_json::from_str(&line?)? {
            Line::Call(record) => history.records.push(record),
            Line::Fault(fault) => history.faults.push(fault),
            Line::Incident(incident) => history.incidents.push(incident),
            Line::Books(books) => history.books = books,
        }
    }
    Ok(history)
}
