//! KeyPackages that a service must refuse, whoever made them and why, and odd ones that it must not.

mod credentials;
mod extensions;
mod keys;
mod lifetimes;
mod odd;
mod signatures;
mod structure;

pub use odd::odd;

use super::packages::PackageMaker;
use crate::{pool::validation::RejectionReason, types::CipherSuite};
use std::fmt;

/// A KeyPackage that must be rejected.
#[derive(Clone, PartialEq, Eq)]
pub struct Hostile {
    /// What is wrong with it.
    pub name: String,
    /// The package, or what claims to be one.
    pub bytes: Vec<u8>,
    /// Why it must be rejected.
    pub reason: RejectionReason,
}

impl fmt::Debug for Hostile {
    /// Leaves the bytes out: they can be many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hostile")
            .field("name", &self.name)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// The most bytes that a package may have by default.
pub const MAX_BYTES: usize = 64 * 1024;

/// A GREASE value (RFC 9420, section 13.5).
pub(crate) const GREASE: u16 = 0x3A3A;

/// Hostile packages, uploaded for a device of a user, under the default policy. Each is new, and breaks one rule.
///
/// Lifetimes are those of the machine's clock, and mean what they should for some minutes.
#[must_use]
pub fn hostile(user: &str, device: &str) -> Vec<Hostile> {
    let device = Device { user, device };
    [
        structure::all(&device),
        lifetimes::all(&device),
        keys::all(&device),
        signatures::all(&device),
        credentials::all(&device),
        extensions::all(&device),
    ]
    .concat()
}

fn rejected(name: impl Into<String>, reason: RejectionReason, bytes: Vec<u8>) -> Hostile {
    Hostile { name: name.into(), bytes, reason }
}

/// Whose packages they would be.
struct Device<'a> {
    user: &'a str,
    device: &'a str,
}

impl Device<'_> {
    fn maker(&self) -> PackageMaker {
        PackageMaker::new(self.user, self.device)
    }

    /// A maker of packages whose keys are points of P-256.
    fn p256(&self) -> PackageMaker {
        self.maker().cipher_suite(CipherSuite(2))
    }
}
