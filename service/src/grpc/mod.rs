//! The gRPC side: decode, authenticate, call, encode.

mod access;
mod audit_service;
mod authenticate;
mod call_rates;
mod calls;
mod counts;
mod deadline;
mod decode;
mod encode;
mod error;
mod error_details;
mod key_package_service;
mod long_streams;
mod malformed;
mod memory;
mod overload;
mod pools;
#[cfg(feature = "testing")]
pub(crate) mod requests;
mod services;

pub use audit_service::AuditService;
pub use authenticate::{Authenticate, AuthenticateLayer};
pub use call_rates::CallRates;
pub use calls::{CallLayer, Calls};
pub use key_package_service::KeyPackageService;
pub use long_streams::{LongStreamLayer, LongStreamLimits};
pub use memory::{BoundedMemory, MemoryLayer};
pub use overload::{Overload, OverloadLayer};
pub use pools::{Pools, Statuses};
pub use services::Services;
