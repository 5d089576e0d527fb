//! Who and what a history is about: ids that are small here, and texts on the wire.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

/// A user, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct User(pub(crate) u32);

impl User {
    /// Its id on the wire.
    pub(crate) fn id(self) -> String {
        format!("user-{}", self.0)
    }
}

/// A device of a user, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Device(pub(crate) User, pub(crate) u32);

impl Device {
    /// Its id on the wire.
    pub(crate) fn id(self) -> String {
        format!("device-{}", self.1)
    }

    /// The device of these ids; none if they are not of a history.
    pub(crate) fn of(user: &str, device: &str) -> Option<Self> {
        let user = user.strip_prefix("user-")?.parse().ok()?;
        let device = device.strip_prefix("device-")?.parse().ok()?;
        Some(Self(User(user), device))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.id(), self.id())
    }
}

/// A reservation and the group that it is for, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Reservation(pub(crate) u64);

impl Reservation {
    /// The group that it is for: each has one of its own.
    pub(crate) fn group(self) -> Vec<u8> {
        format!("group of {self}").into_bytes()
    }
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reservation-{}", self.0)
    }
}

impl FromStr for Reservation {
    type Err = ();

    fn from_str(id: &str) -> Result<Self, ()> {
        id.strip_prefix("reservation-").and_then(|id| id.parse().ok()).map(Self).ok_or(())
    }
}

/// A KeyPackage, by its KeyPackageRef (RFC 9420, section 5.2). All cipher suites here hash by SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Package(pub(crate) [u8; 32]);

impl Package {
    /// The package of these bytes.
    pub(crate) fn of(key_package: &[u8]) -> Self {
        const LABEL: &[u8] = b"MLS 1.0 KeyPackage Reference";
        let mut hash = Sha256::new();
        hash.update([0x1c]); // the label's length, as MLS writes lengths
        hash.update(LABEL);
        let length = u16::try_from(key_package.len()).unwrap_or(u16::MAX);
        match length {
            0..64 => hash.update([length.to_be_bytes()[1]]),
            _ => hash.update((0x4000 | length).to_be_bytes()),
        }
        hash.update(key_package);
        Self(hash.finalize().into())
    }

    /// The package of this ref; none if it has another length.
    pub(crate) fn of_ref(key_package_ref: &[u8]) -> Option<Self> {
        key_package_ref.try_into().ok().map(Self)
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Package> for String {
    fn from(package: Package) -> Self {
        package.to_string()
    }
}

impl TryFrom<String> for Package {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "not a KeyPackageRef of 32 bytes in hexadecimal digits";
        let digit = |place: usize| text.get(2 * place..2 * place + 2);
        let mut bytes = [0; 32];
        for (place, byte) in bytes.iter_mut().enumerate() {
            let digits = digit(place).ok_or(WRONG)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| WRONG)?;
        }
        if text.len() == 64 { Ok(Self(bytes)) } else { Err(WRONG) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let device = Device(User(7), 2);
        assert_eq!(Device::of(&device.0.id(), &device.id()), Some(device));
        assert_eq!(Reservation(9).to_string().parse(), Ok(Reservation(9)));
        let package = Package::of(b"bytes");
        assert_eq!(Package::try_from(String::from(package)), Ok(package));
        assert!(Package::try_from("00".to_owned()).is_err());
    }
}
