//! Connections to the service's replicas.

mod connection;
mod dial;
mod endpoint;
mod line;
mod lines;
mod names;
mod replicas;
#[cfg(feature = "tls")]
mod tls;

pub(crate) use connection::Connection;
pub(crate) use dial::Dial;
pub(crate) use endpoint::{EndpointOptions, Named};
pub(crate) use lines::Seat;
pub(crate) use replicas::{Replica, Replicas};
#[cfg(feature = "tls")]
pub use tls::TlsConfig;
