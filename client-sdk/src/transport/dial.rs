//! How an endpoint becomes a channel.

use std::fmt;
use std::sync::Arc;

use tonic::transport::{Channel, Endpoint};

/// Connects when the first call is made: over TCP, or over whatever a test has in its place.
#[derive(Clone, Default)]
pub(crate) struct Dial(Option<Arc<dyn Fn(Endpoint) -> Channel + Send + Sync>>);

impl Dial {
    pub(crate) fn with(connect: impl Fn(Endpoint) -> Channel + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(connect)))
    }

    pub(super) fn channel(&self, endpoint: Endpoint) -> Channel {
        match &self.0 {
            Some(connect) => connect(endpoint),
            None => endpoint.connect_lazy(),
        }
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Dial(custom)" } else { "Dial(TCP)" })
    }
}
