//! Who is to be added to a group.

use keypool_proto::v1;

/// A user with all its devices, or one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(v1::Target);

impl Target {
    /// Every device that the user has when the reservation is made.
    pub fn user(user_id: impl Into<String>) -> Self {
        Self(v1::Target { user_id: user_id.into(), ..Default::default() })
    }

    /// Every device of the user but these.
    pub fn user_except<D>(user_id: impl Into<String>, devices: D) -> Self
    where
        D: IntoIterator,
        D::Item: Into<String>,
    {
        let excluded_device_ids = devices.into_iter().map(Into::into).collect();
        Self(v1::Target { user_id: user_id.into(), excluded_device_ids, ..Default::default() })
    }

    /// One device.
    pub fn device(user_id: impl Into<String>, device_id: impl Into<String>) -> Self {
        let (user_id, device_id) = (user_id.into(), device_id.into());
        Self(v1::Target { user_id, device_id, ..Default::default() })
    }

    /// The user.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.0.user_id
    }

    /// The device; `None` if the target is every device of the user.
    #[must_use]
    pub fn device_id(&self) -> Option<&str> {
        Some(self.0.device_id.as_str()).filter(|device_id| !device_id.is_empty())
    }

    /// Whether this target asks for the device.
    #[must_use]
    pub fn covers(&self, user_id: &str, device_id: &str) -> bool {
        let asked = match self.device_id() {
            Some(asked) => asked == device_id,
            None => !self.0.excluded_device_ids.iter().any(|excluded| excluded == device_id),
        };
        self.user_id() == user_id && asked
    }

    /// Whether devices are left out, so that none may remain.
    pub(crate) fn excludes_devices(&self) -> bool {
        !self.0.excluded_device_ids.is_empty()
    }

    /// The devices that are left out.
    #[cfg(feature = "openmls")]
    pub(crate) fn excluded(&self) -> impl Iterator<Item = &str> {
        self.0.excluded_device_ids.iter().map(String::as_str)
    }

    /// The target without this device; `None` if nothing remains.
    #[cfg(feature = "openmls")]
    pub(crate) fn without(mut self, user_id: &str, device_id: &str) -> Option<Self> {
        if !self.covers(user_id, device_id) {
            return Some(self);
        }
        if self.device_id().is_some() {
            return None;
        }
        self.0.excluded_device_ids.push(device_id.to_owned());
        Some(self)
    }
}

impl From<v1::Target> for Target {
    fn from(target: v1::Target) -> Self {
        Self(target)
    }
}

impl From<Target> for v1::Target {
    fn from(target: Target) -> Self {
        target.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_covers_what_it_names() {
        assert!(Target::user("bob").covers("bob", "phone"));
        assert!(!Target::user("bob").covers("alice", "phone"));
        assert!(!Target::user_except("bob", ["phone"]).covers("bob", "phone"));
        assert!(Target::user_except("bob", ["phone"]).covers("bob", "laptop"));
        assert!(Target::device("bob", "phone").covers("bob", "phone"));
        assert!(!Target::device("bob", "phone").covers("bob", "laptop"));
    }

    #[cfg(feature = "openmls")]
    #[test]
    fn a_device_can_be_taken_out() {
        let phone = Target::device("bob", "phone");
        assert_eq!(phone.clone().without("bob", "phone"), None);
        assert_eq!(phone.clone().without("bob", "laptop"), Some(phone));
        assert_eq!(
            Target::user("bob").without("bob", "phone"),
            Some(Target::user_except("bob", ["phone"]))
        );
    }
}
