//! Who calls, and what it may do.

mod method;
mod policy;
mod principal;
mod role;

pub use method::Method;
pub use policy::{Denied, Reach, Subject, authorize};
pub use principal::{InvalidPrincipal, Principal, holder_of};
pub use role::{Role, Roles};
