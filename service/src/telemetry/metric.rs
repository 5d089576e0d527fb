//! Kinds of metrics. Their types tie each name to its labels, so that nothing is counted under labels that the catalogue
//! doesn't list.

use metrics::Label;

/// What every metric tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Its name, as Prometheus knows it.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
    /// What it counts or measures; the unit is the name's suffix.
    pub help: &'static str,
}

impl Description {
    /// Tells the recorder what it is, so that `/metrics` says so too.
    pub(crate) fn tell(&self) {
        match self.kind {
            "counter" => metrics::describe_counter!(self.name, self.help),
            "gauge" => metrics::describe_gauge!(self.name, self.help),
            _ => metrics::describe_histogram!(self.name, self.help),
        }
    }
}

/// Something that only grows.
#[derive(Debug)]
pub struct Counter<const LABELS: usize> {
    pub(super) name: &'static str,
    pub(super) labels: [&'static str; LABELS],
}

/// Something that goes up and down.
#[derive(Debug)]
pub struct Gauge<const LABELS: usize> {
    pub(super) name: &'static str,
    pub(super) labels: [&'static str; LABELS],
}

/// How values are distributed.
#[derive(Debug)]
pub struct Histogram<const LABELS: usize> {
    pub(super) name: &'static str,
    pub(super) labels: [&'static str; LABELS],
}

impl<const LABELS: usize> Counter<LABELS> {
    /// The one with these values of its labels.
    pub fn with(&self, values: [&'static str; LABELS]) -> metrics::Counter {
        metrics::counter!(self.name, labels(&self.labels, values))
    }

    /// Counts one more.
    pub fn count(&self, values: [&'static str; LABELS]) {
        self.with(values).increment(1);
    }
}

impl<const LABELS: usize> Gauge<LABELS> {
    /// The one with these values of its labels.
    pub fn with(&self, values: [&'static str; LABELS]) -> metrics::Gauge {
        metrics::gauge!(self.name, labels(&self.labels, values))
    }
}

impl<const LABELS: usize> Histogram<LABELS> {
    /// The one with these values of its labels.
    pub fn with(&self, values: [&'static str; LABELS]) -> metrics::Histogram {
        metrics::histogram!(self.name, labels(&self.labels, values))
    }
}

fn labels<const LABELS: usize>(
    names: &[&'static str; LABELS],
    values: [&'static str; LABELS],
) -> Vec<Label> {
    names.iter().zip(values).map(|(name, value)| Label::from_static_parts(name, value)).collect()
}
