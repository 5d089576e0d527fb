//! Who calls, and what it may do.

mod principal;
mod role;

pub use principal::{InvalidPrincipal, Principal, holder_of};
pub use role::{Role, Roles};
