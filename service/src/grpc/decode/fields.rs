//! Reading fields, and collecting what is wrong with them.

use crate::grpc::error::invalid_argument;
use jiff::{SignedDuration, Timestamp};
use std::{collections::BTreeSet, fmt::Display, ops::RangeInclusive};
use tonic::Status;

/// Where google.protobuf.Timestamp begins: the year 1. Earlier ones could be times that PostgreSQL doesn't know.
pub(super) const FIRST_TIME: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// How many violations are reported: they travel in headers, of which clients take 8 KiB.
const MAX_VIOLATIONS: usize = 16;

/// Collects what is wrong with a request's fields.
#[derive(Default)]
pub(in crate::grpc) struct Fields {
    violations: Vec<(String, String)>,
    refusal: Option<Status>,
}

impl Fields {
    /// Reads a request: its value, or INVALID_ARGUMENT with the violations found, at most 16 of them.
    pub(in crate::grpc) fn read<T>(
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, Box<Status>> {
        let mut fields = Self::default();
        let value = read(&mut fields);
        match (value, fields.refusal) {
            (_, Some(refusal)) => Err(Box::new(refusal)),
            (Some(value), None) if fields.violations.is_empty() => Ok(value),
            _ => Err(Box::new(invalid_argument(fields.violations))),
        }
    }

    /// Notes that the caller may not do what the request asks for, which weighs more than what is wrong with it.
    pub(in crate::grpc) fn refuse(&mut self, refusal: Status) {
        self.refusal.get_or_insert(refusal);
    }

    /// Notes what is wrong with a field.
    pub(super) fn violation(&mut self, path: impl Display, description: impl Display) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push((path.to_string(), description.to_string()));
        }
    }

    /// The value, or none with its error noted.
    pub(in crate::grpc) fn check<T, E: Display>(
        &mut self,
        path: impl Display,
        value: Result<T, E>,
    ) -> Option<T> {
        value.map_err(|error| self.violation(path, error)).ok()
    }

    /// The value of an optional field, where empty means absent; `Some(None)` if it is.
    pub(in crate::grpc) fn optional<T, E: Display>(
        &mut self,
        path: impl Display,
        raw: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        if raw.is_empty() {
            return Some(None);
        }
        self.check(path, parse(raw)).map(Some)
    }

    /// Each element of a list, with its path; none if any is wrong or the list has too few or too many. Paths are written where
    /// something is wrong, and else not.
    pub(super) fn list<'r, R, T>(
        &mut self,
        path: impl Display,
        raw: &'r [R],
        lengths: RangeInclusive<usize>,
        mut read: impl FnMut(&mut Self, &dyn Display, &'r R) -> Option<T>,
    ) -> Option<Vec<T>> {
        if !lengths.contains(&raw.len()) {
            let (least, most) = (lengths.start(), lengths.end());
            self.violation(
                path,
                format!("must have {least} to {most} elements, has {}", raw.len()),
            );
            return None;
        }
        // Every element is read, so that more than one violation is reported.
        let read: Vec<Option<T>> = raw
            .iter()
            .enumerate()
            .map(|(n, element)| read(self, &format_args!("{path}[{n}]"), element))
            .collect();
        read.into_iter().collect()
    }

    /// None, with the error noted, for an element that names the same as one before it.
    pub(super) fn distinct<K: Ord>(
        &mut self,
        path: impl Display,
        seen: &mut BTreeSet<K>,
        named: K,
        what: &str,
    ) -> Option<()> {
        if seen.insert(named) {
            return Some(());
        }
        self.violation(path, format!("names the same {what} as an element before it"));
        None
    }

    /// The value of an optional duration; `Some(None)` if it is absent.
    pub(super) fn span(
        &mut self,
        path: &str,
        raw: Option<&prost_types::Duration>,
        range: RangeInclusive<SignedDuration>,
    ) -> Option<Option<SignedDuration>> {
        let Some(raw) = raw else { return Some(None) };
        match duration(raw) {
            Some(span) if range.contains(&span) => Some(Some(span)),
            _ => {
                let (least, most) = (range.start(), range.end());
                self.violation(path, format!("must be {least:#} to {most:#}"));
                None
            }
        }
    }

    /// The value of an optional time; `Some(None)` if it is absent.
    pub(super) fn time(
        &mut self,
        path: &str,
        raw: Option<prost_types::Timestamp>,
    ) -> Option<Option<Timestamp>> {
        let Some(raw) = raw else { return Some(None) };
        if !(0..1_000_000_000).contains(&raw.nanos) {
            self.violation(path, "must have 0 to 999999999 nanoseconds");
            return None;
        }
        let time = Timestamp::new(raw.seconds, raw.nanos).ok().filter(|time| *time >= FIRST_TIME);
        self.check(path, time.ok_or("must be of the years 1 to 9999")).map(Some)
    }
}

/// None for what google.protobuf.Duration does not allow.
fn duration(raw: &prost_types::Duration) -> Option<SignedDuration> {
    let same_sign = raw.seconds == 0 || raw.nanos == 0 || (raw.seconds > 0) == (raw.nanos > 0);
    (same_sign && raw.nanos.unsigned_abs() < 1_000_000_000)
        .then(|| SignedDuration::new(raw.seconds, raw.nanos))
}
