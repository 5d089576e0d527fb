use serde::{Deserialize, Serialize};
use std::fmt;

/// What a caller may be to the service. What each may do says the policy table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A device that looks after its own pool.
    Device,
    /// Invites on its own account.
    Inviter,
    /// A service of the operator's that acts for any user.
    Backend,
    /// Reads the spend log, and takes packages out of circulation.
    Admin,
}

impl Role {
    /// Every role, in the order of the policy table's columns.
    pub const ALL: [Self; 4] = [Self::Device, Self::Inviter, Self::Backend, Self::Admin];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device",
            Self::Inviter => "inviter",
            Self::Backend => "backend",
            Self::Admin => "admin",
        })
    }
}

/// A set of roles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles([bool; Role::ALL.len()]);

impl Roles {
    /// Whether the role is among them.
    #[must_use]
    pub fn contains(self, role: Role) -> bool {
        self.0[role as usize]
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Roles {
    /// Writes the roles' names, or `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for role in Role::ALL.into_iter().filter(|&role| self.contains(role)) {
            write!(f, "{separator}{role}")?;
            separator = ", ";
        }
        if self.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        let mut set = Self::default();
        for role in roles {
            set.0[role as usize] = true;
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = Roles::from_iter([Role::Admin, Role::Device]);
        let held: Vec<Role> = Role::ALL.into_iter().filter(|&role| set.contains(role)).collect();
        assert_eq!(held, [Role::Device, Role::Admin]);
        assert!(Roles::default().is_empty() && !set.is_empty());
    }
}
