//! Reserving packages for an invite.

use std::time::Duration;

use keypool_proto::v1::ReserveKeyPackagesRequest;
use uuid::Uuid;

use crate::reservation::Before;
use crate::{Client, Reservation, Result, Target};

impl Client {
    /// Starts to reserve packages for the members that will be added to this MLS group.
    ///
    /// ```no_run
    /// # async fn example(client: keypool_client::Client) -> keypool_client::Result<()> {
    /// let mut reservation = client
    ///     .reserve(b"group 1")
    ///     .user("bob")
    ///     .user_except("alice", ["laptop"])
    ///     .device("carol", "phone")
    ///     .cipher_suite(1)
    ///     .send()
    ///     .await?;
    /// for package in reservation.packages() {
    ///     println!("{} / {}", package.name.user_id, package.name.device_id);
    /// }
    /// reservation.spend().await
    /// # }
    /// ```
    pub fn reserve(&self, group_id: impl AsRef<[u8]>) -> ReserveBuilder {
        let request = ReserveKeyPackagesRequest {
            reservation_id: Uuid::now_v7().to_string(),
            group_id: group_id.as_ref().to_vec(),
            on_behalf_of: self.settings().on_behalf_of.clone(),
            ..Default::default()
        };
        ReserveBuilder { client: self.clone(), request, has_new_id: true }
    }
}

/// A reservation to be. See [`Client::reserve`].
#[derive(Debug, Clone)]
#[must_use = "nothing is reserved before `send`"]
pub struct ReserveBuilder {
    client: Client,
    request: ReserveKeyPackagesRequest,
    /// Made here, so that nothing can be reserved under it yet.
    has_new_id: bool,
}

impl ReserveBuilder {
    /// Adds every device of the user.
    pub fn user(self, user_id: impl Into<String>) -> Self {
        self.target(Target::user(user_id))
    }

    /// Adds every device of the user but these, such as the inviter's own.
    pub fn user_except<D>(self, user_id: impl Into<String>, devices: D) -> Self
    where
        D: IntoIterator,
        D::Item: Into<String>,
    {
        self.target(Target::user_except(user_id, devices))
    }

    /// Adds one device.
    pub fn device(self, user_id: impl Into<String>, device_id: impl Into<String>) -> Self {
        self.target(Target::device(user_id, device_id))
    }

    /// Adds a target. At least one in all; more than 100 take several calls.
    pub fn target(mut self, target: Target) -> Self {
        self.request.targets.push(target.into());
        self
    }

    /// Adds targets. At least one in all; more than 100 take several calls.
    pub fn targets(mut self, targets: impl IntoIterator<Item = Target>) -> Self {
        self.request.targets.extend(targets.into_iter().map(Into::into));
        self
    }

    /// Accepts packages of this cipher suite (its number in IANA's registry), usually the group's.
    /// May be given up to 16 times; without it, any cipher suite will do.
    pub fn cipher_suite(mut self, cipher_suite: u16) -> Self {
        self.request.cipher_suites.push(cipher_suite.into());
        self
    }

    /// How long to hold the packages: 1 second to 10 minutes, 60 seconds unless set.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.request.ttl = Some(to_proto(ttl));
        self
    }

    /// How long each package must stay valid from now: 10 minutes (unless set) to 90 days.
    pub fn min_remaining_lifetime(mut self, lifetime: Duration) -> Self {
        self.request.min_remaining_lifetime = Some(to_proto(lifetime));
        self
    }

    /// Reserves nothing unless every target device gets a package.
    pub fn require_all(mut self) -> Self {
        self.request.require_all = true;
        self
    }

    /// The reservation's id, in place of a random one: 1 to 255 bytes. An application that stores it
    /// before it sends can take up the same reservation after a crash.
    pub fn reservation_id(mut self, reservation_id: impl Into<String>) -> Self {
        self.request.reservation_id = reservation_id.into();
        self.has_new_id = false;
        self
    }

    /// Reserves. Retries carry the same reservation id, so that no package is lost with an answer.
    ///
    /// More than 100 targets take several calls. If a later one fails, what the earlier ones reserved is
    /// given back, unless the [reservation's id](Self::reservation_id) is the caller's: then some of it
    /// may be from an earlier call, and it stays until its holds end.
    ///
    /// Dropping the future gives nothing back: what was reserved by then stays held until the
    /// hold ends.
    ///
    /// # Errors
    ///
    /// If nothing at all was reserved, or something is missing and
    /// [`require_all`](Self::require_all) was asked for: [`Error::PoolExhausted`],
    /// [`Error::NoCompatiblePackage`], [`Error::UnknownUser`], [`Error::UnknownDevice`] or
    /// [`Error::RateLimited`], each with [`Error::missing`]. Also [`Error::ReservationIdReused`] for an
    /// id that is in use.
    ///
    /// [`Error::PoolExhausted`]: crate::Error::PoolExhausted
    /// [`Error::NoCompatiblePackage`]: crate::Error::NoCompatiblePackage
    /// [`Error::UnknownUser`]: crate::Error::UnknownUser
    /// [`Error::UnknownDevice`]: crate::Error::UnknownDevice
    /// [`Error::RateLimited`]: crate::Error::RateLimited
    /// [`Error::missing`]: crate::Error::missing
    /// [`Error::ReservationIdReused`]: crate::Error::ReservationIdReused
    pub async fn send(self) -> Result<Reservation> {
        let before = if self.has_new_id { Before::Nothing } else { Before::Unknown };
        Reservation::make(self.client, self.request, before).await
    }
}

#[cfg(feature = "openmls")]
impl ReserveBuilder {
    pub(crate) fn into_request(self) -> ReserveKeyPackagesRequest {
        self.request
    }
}

/// A span too long for the wire is sent as the longest one, which the service then refuses.
pub(crate) fn to_proto(span: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(span)
        .unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}
