//! What the caller of a request may do: asked of the policy before anything else is done for it.

use super::{
    decode::Fields,
    error::{not_granted, permission_denied, too_many_watches, unauthenticated},
};
use crate::{
    auth::{Denied, Method, Principal, Reach, Subject, authorize, holder_of},
    limits::{InFlight, InFlightPermit, WatchLimit},
    pool::Caller,
    security::{self, Event},
    types::{DeviceId, Target, UserId},
};
use tonic::{Request, Status};
use tracing::Span;

/// The caller of a method.
pub(super) struct Access {
    principal: Principal,
    method: Method,
}

impl Access {
    /// The caller of a request. One that was never authenticated is refused.
    pub(super) fn of<T>(request: &Request<T>, method: Method) -> Result<Self, Status> {
        let principal = request.extensions().get::<Principal>().cloned();
        let principal = principal.ok_or_else(|| unauthenticated("no credentials"))?;
        Ok(Self::new(principal, method))
    }

    pub(super) fn new(principal: Principal, method: Method) -> Self {
        Self { principal, method }
    }

    /// Lets the caller at a device's pool, or at those of all devices of a user.
    pub(super) fn pool(&self, user: &UserId, device: Option<&DeviceId>) -> Result<(), Status> {
        let span = Span::current();
        span.record("user_id", user.as_str());
        if let Some(device) = device {
            span.record("device_id", device.as_str());
        }
        self.authorize(Subject::Pool(user, device)).map(drop)
    }

    /// Lets the caller at its own reservations or, where it names one, a user's.
    pub(super) fn reservations(&self, fields: &mut Fields, on_behalf_of: &str) -> Option<Caller> {
        let user = fields.optional("on_behalf_of", on_behalf_of, UserId::new)?;
        let named = user.as_ref().map(holder_of).transpose();
        let named = fields.check("on_behalf_of", named)?;
        let reach = self.authorize(Subject::Reservations(user.as_ref()));
        let reach = reach.map_err(|status| fields.refuse(status)).ok()?;
        let principal = self.principal.name().clone();
        Some(Caller {
            holder: named.unwrap_or_else(|| principal.clone()),
            principal,
            limited: user.is_some() || !self.principal.stands_for_many(),
            is_backend: self.principal.stands_for_many(),
            whoever_holds: reach == Reach::EveryHolder,
        })
    }

    /// Lets the caller reserve packages of all targets, before any of them is looked up: a refusal tells nothing about them.
    pub(super) fn targets(&self, fields: &mut Fields, targets: &[Target]) -> Option<()> {
        let denied = |target| self.decide(Subject::Target(target)).is_err();
        let Some(first) = targets.iter().position(denied) else { return Some(()) };
        self.note_denied();
        fields.refuse(not_granted(&format!("targets[{first}]")));
        None
    }

    /// Counts one more watch of the caller's, until the permit is dropped.
    pub(super) fn begin(&self, watches: &InFlight) -> Result<InFlightPermit, Status> {
        let begun = watches.begin(&self.principal);
        begun.map_err(|_too_many| too_many_watches(WatchLimit::Principal))
    }

    /// Lets the caller at the spend log.
    pub(super) fn spend_log(&self) -> Result<(), Status> {
        self.authorize(Subject::SpendLog).map(drop)
    }

    fn authorize(&self, subject: Subject<'_>) -> Result<Reach, Status> {
        self.decide(subject).map_err(|Denied| {
            self.note_denied();
            permission_denied(self.method, self.principal.roles())
        })
    }

    fn decide(&self, subject: Subject<'_>) -> Result<Reach, Denied> {
        authorize(&self.principal, self.method, subject)
    }

    fn note_denied(&self) {
        security::event!(
            Event::PermissionDenied, of self.principal.name(),
            principal = %self.principal.name(),
            method = self.method.name(),
        );
    }
}
