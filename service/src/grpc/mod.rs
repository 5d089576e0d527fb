//! The gRPC side: decode, authenticate, call, encode.

mod audit_service;
mod calls;
mod deadline;
mod decode;
mod encode;
mod error;
mod key_package_service;
mod malformed;
mod principal;

pub use audit_service::AuditService;
pub use calls::{CallLayer, Calls};
pub use key_package_service::KeyPackageService;
