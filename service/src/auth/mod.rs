//! Who calls, and what it may do.

mod authenticator;
mod certificate;
mod invite_grant;
mod method;
mod policy;
mod principal;
mod role;
mod token;

pub use authenticator::{AuthenticationError, Authenticator};
pub use certificate::CertificateNames;
pub use invite_grant::{InvalidGrant, InviteGrant};
pub use method::Method;
pub use policy::{Denied, Reach, Subject, authorize};
pub use principal::{InvalidPrincipal, Principal, holder_of};
pub use role::{Role, Roles};
pub use token::TokenError;

pub(crate) use token::read_keys;
