use super::{InviteGrant, Role, Roles};
use crate::types::{DeviceId, Holder, InvalidId, Target, UserId};
use jiff::Timestamp;
use std::sync::Arc;

/// How the name of every service begins, and the id of no user that calls or is acted for: so no user can take the place
/// of a service.
const SERVICE: &str = "service:";

/// The caller when nothing proves who it is, which the server allows on loopback only unless told otherwise.
const ANONYMOUS: &str = "service:anonymous";

/// Why there is no principal of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrincipal {
    /// The name is not a valid id.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// A user id looks like a service's name.
    #[error("must not begin with \"{SERVICE}\"")]
    Reserved,
}

/// The authenticated caller: a user, maybe one device of it, or a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: Holder,
    roles: Roles,
    user: Option<UserId>,
    device: Option<DeviceId>,
    /// None: it may invite anybody.
    invites: Option<Arc<InviteGrant>>,
    proven_until: Option<Timestamp>,
}

impl Principal {
    /// A user's own application. If it is bound to a device, that is the only one whose pool it looks after.
    ///
    /// # Errors
    /// If the user's id looks like a service's name.
    pub fn user(
        user: UserId,
        device: Option<DeviceId>,
        roles: Roles,
    ) -> Result<Self, InvalidPrincipal> {
        Ok(Self {
            name: holder_of(&user)?,
            roles,
            user: Some(user),
            device,
            invites: None,
            proven_until: None,
        })
    }

    /// A service, by the name that its certificate or token proves.
    ///
    /// # Errors
    /// If the name is empty, too long (255 bytes, with a prefix of 8), or holds control characters.
    pub fn service(name: &str, roles: Roles) -> Result<Self, InvalidPrincipal> {
        let named = Holder::new(&format!("{SERVICE}{name}"))?;
        if name.is_empty() {
            return Err(InvalidId::Empty.into());
        }
        Ok(Self { name: named, roles, user: None, device: None, invites: None, proven_until: None })
    }

    /// Anybody, who may do anything: where callers don't have to prove who they are.
    #[must_use]
    pub fn anonymous() -> Self {
        let name = Holder::new(ANONYMOUS).expect("a short text is a valid id");
        Self {
            name,
            roles: Role::ALL.into_iter().collect(),
            user: None,
            device: None,
            invites: None,
            proven_until: None,
        }
    }

    /// The same, proven by a token that ends then, leeway included.
    #[must_use]
    pub fn until(self, end: Timestamp) -> Self {
        Self { proven_until: Some(end), ..self }
    }

    /// The same, which may reserve packages of its own user and of those that the grant names, and of no others.
    #[must_use]
    pub fn limited_to(self, grant: InviteGrant) -> Self {
        Self { invites: Some(Arc::new(grant)), ..self }
    }

    /// Whether what it may invite covers a target.
    #[must_use]
    pub fn may_invite(&self, target: &Target) -> bool {
        let is_own = self.user.as_ref() == Some(&target.user);
        is_own || self.invites.as_ref().is_none_or(|grant| grant.names(target))
    }

    /// When what proves who it is ends, if that is known: that of a token, not of a certificate.
    #[must_use]
    pub fn proven_until(&self) -> Option<Timestamp> {
        self.proven_until
    }

    /// The name under which it holds reservations and appears in logs: a user's id, or a service's name after `service:`.
    #[must_use]
    pub fn name(&self) -> &Holder {
        &self.name
    }

    /// What it may be.
    #[must_use]
    pub fn roles(&self) -> Roles {
        self.roles
    }

    /// Whether it is a back end, which calls for many users and is not limited itself.
    #[must_use]
    pub fn stands_for_many(&self) -> bool {
        self.roles.contains(Role::Backend)
    }

    /// The user that it is; none for a service.
    #[must_use]
    pub fn user_id(&self) -> Option<&UserId> {
        self.user.as_ref()
    }

    /// The only device that it is; none for a service, or a user's application that speaks for all its devices.
    #[must_use]
    pub fn device_id(&self) -> Option<&DeviceId> {
        self.device.as_ref()
    }
}

/// The holder of what is reserved for a user, whoever calls.
///
/// # Errors
/// If the user's id looks like a service's name.
pub fn holder_of(user: &UserId) -> Result<Holder, InvalidPrincipal> {
    if user.as_str().starts_with(SERVICE) {
        return Err(InvalidPrincipal::Reserved);
    }
    Ok(Holder::new(user.as_str())?)
}

impl Holder {
    /// Whether it is the user: what that user reserves is its own, and what a service of the same name does is not.
    #[must_use]
    pub fn is(&self, user: &UserId) -> bool {
        self.as_str() == user.as_str() && !user.as_str().starts_with(SERVICE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_takes_the_place_of_a_service() {
        let roles = Roles::default();
        let service = Principal::service("a", roles).unwrap();
        assert_eq!(service.name().as_str(), "service:a");
        let user = UserId::new("service:a").unwrap();
        assert_eq!(Principal::user(user, None, roles), Err(InvalidPrincipal::Reserved));
        let user = Principal::user(UserId::new("a").unwrap(), None, roles).unwrap();
        assert_eq!(user.name().as_str(), "a");
        assert!(user.name().is(&UserId::new("a").unwrap()));
        assert!(!service.name().is(&UserId::new("service:a").unwrap()));
    }

    #[test]
    fn services_have_names() {
        assert_eq!(Principal::service("", Roles::default()), Err(InvalidId::Empty.into()));
        assert!(Principal::service(&"x".repeat(248), Roles::default()).is_err());
    }
}
