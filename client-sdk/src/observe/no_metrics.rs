//! Without the feature `metrics`, nothing is counted.

#[derive(Debug)]
pub(super) struct CallMetrics;

impl CallMetrics {
    pub(super) fn start(_method: &'static str) -> Self {
        Self
    }

    pub(super) fn retried(&self) {}

    pub(super) fn ended(&mut self, _outcome: &'static str) {}
}

#[cfg(feature = "openmls")]
pub(crate) fn rejected(_reason: String) {}

pub(crate) fn kept_back(_method: &'static str) {}
