//! The words of the domain as types: ids that are valid once they exist, spelled as in RFC 9420.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, sync::Arc};

/// Why a value is not a valid id. Says what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The value has no bytes.
    #[error("must not be empty")]
    Empty,
    /// The value has more bytes than the limit.
    #[error("must have at most {limit} bytes, has {length}")]
    TooLong {
        /// Bytes that it may have.
        limit: usize,
        /// Bytes that it has.
        length: usize,
    },
    /// The value holds a control character.
    #[error("must not hold control characters")]
    ControlCharacter,
    /// The value's length is not that of a hash.
    #[error("must have 32, 48 or 64 bytes, has {length}")]
    NotAHash {
        /// Bytes that it has.
        length: usize,
    },
}

/// The longest id, in bytes.
pub const MAX_ID_BYTES: usize = 255;

fn check_text(value: &str) -> Result<(), InvalidId> {
    check_length(value.len())?;
    if value.chars().any(char::is_control) {
        return Err(InvalidId::ControlCharacter);
    }
    Ok(())
}

fn check_length(length: usize) -> Result<(), InvalidId> {
    match length {
        0 => Err(InvalidId::Empty),
        1..=MAX_ID_BYTES => Ok(()),
        _ => Err(InvalidId::TooLong { limit: MAX_ID_BYTES, length }),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 255 bytes without control characters. Cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and wraps a value.
            ///
            /// # Errors
            /// If it is empty, too long, or holds a control character.
            pub fn new(value: &str) -> Result<Self, InvalidId> {
                check_text(value)?;
                Ok(Self(value.into()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &*self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A user: the owner of one or more devices.
    UserId
}
text_id! {
    /// A device of a user: what RFC 9420 calls a client.
    DeviceId
}
text_id! {
    /// The id that a caller chose for a reservation.
    ReservationId
}
text_id! {
    /// Who holds a reservation: the authenticated caller, or the user it acts for.
    Holder
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// The id of an MLS group: 1 to 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GroupId(Arc<[u8]>);

impl GroupId {
    /// Checks and wraps a value.
    ///
    /// # Errors
    /// If it is empty or too long.
    pub fn new(value: impl AsRef<[u8]>) -> Result<Self, InvalidId> {
        check_length(value.as_ref().len())?;
        Ok(Self(value.as_ref().into()))
    }

    /// The id's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupId(")?;
        write_hex(f, &self.0)?;
        f.write_str(")")
    }
}

/// A KeyPackageRef (RFC 9420, section 5.2): a hash of 32, 48 or 64 bytes, by cipher suite.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPackageRef(Arc<[u8]>);

impl KeyPackageRef {
    /// Checks and wraps a value.
    ///
    /// # Errors
    /// If its length is not 32, 48 or 64 bytes.
    pub fn new(value: impl AsRef<[u8]>) -> Result<Self, InvalidId> {
        match value.as_ref().len() {
            32 | 48 | 64 => Ok(Self(value.as_ref().into())),
            length => Err(InvalidId::NotAHash { length }),
        }
    }

    /// The hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyPackageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPackageRef({self})")
    }
}

impl fmt::Display for KeyPackageRef {
    /// Writes hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// A cipher suite by its number in IANA's registry of MLS cipher suites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CipherSuite(pub u16);

/// Where a user's rows live: the first two bytes of SHA-256(user id), modulo 1024.
///
/// It leads every key and every predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(i16);

impl Bucket {
    /// How many buckets there are.
    pub const COUNT: i16 = 1024;

    /// The user's bucket.
    #[must_use]
    pub fn of(user: &UserId) -> Self {
        let hash = Sha256::digest(user.as_str());
        let number = u16::from_be_bytes([hash[0], hash[1]]) % Self::COUNT.unsigned_abs();
        Self(i16::try_from(number).unwrap_or_default()) // below COUNT, so it always fits
    }

    /// The bucket's number, below [`Self::COUNT`].
    #[must_use]
    pub fn number(self) -> i16 {
        self.0
    }
}

/// A user, or one device of it, to reserve packages of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The user.
    pub user: UserId,
    /// The device; none means each of the user's.
    pub device: Option<DeviceId>,
    /// Devices to leave out.
    pub excluded: Vec<DeviceId>,
}

/// Who may be handed a package again that a holder has seen and not spent, from most to least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReturnedTo {
    /// Anybody, after all packages that nobody has seen.
    Anyone,
    /// The same holder.
    SameHolder,
    /// Nobody.
    Nobody,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_what_is_wrong_with_them() {
        assert_eq!(UserId::new(""), Err(InvalidId::Empty));
        assert_eq!(
            UserId::new(&"x".repeat(256)),
            Err(InvalidId::TooLong { limit: 255, length: 256 })
        );
        assert_eq!(DeviceId::new("a\u{7}b"), Err(InvalidId::ControlCharacter));
        assert_eq!(KeyPackageRef::new([0; 31]), Err(InvalidId::NotAHash { length: 31 }));
        assert!(UserId::new(&"x".repeat(255)).is_ok());
        assert!(GroupId::new([0]).is_ok());
    }

    #[test]
    fn buckets_never_change() {
        // Rows are stored under these numbers: a change here loses them.
        let bucket = |id| Bucket::of(&UserId::new(id).unwrap()).number();
        assert_eq!((bucket("alice"), bucket("bob")), (984, 438));
    }
}
