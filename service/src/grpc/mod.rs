//! The gRPC side: decode, authenticate, call, encode.

mod audit_service;
mod deadline;
mod decode;
mod encode;
mod error;
mod key_package_service;
mod malformed;
mod observe;
mod principal;

pub use audit_service::AuditService;
pub use deadline::{DeadlineLayer, Deadlines};
pub use key_package_service::KeyPackageService;
pub use malformed::{MalformedRequestLayer, MalformedRequests};
pub use observe::{ObserveLayer, ObservedCalls};
