//! The connections of callers: accepted, counted, bounded in number and time, by TLS if it is configured.
//!
//! Every request carries the [`Peer`] of its connection in its extensions.

mod accept;
mod connection;
mod long_streams;
mod patience;
mod peer;
mod registry;
mod reload;
mod tls;
mod unsent;

pub use connection::Connection;
pub use long_streams::{LongStream, LongStreams};
pub use peer::{ClientCertificate, Peer};
pub use registry::Standing;
pub use unsent::Unsent;

pub(crate) use accept::accept;
pub(crate) use registry::OpenCall;
pub(crate) use reload::Reloader;
pub(crate) use tls::certificate_expiry;
