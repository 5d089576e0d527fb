//! The policy: which role may call which method, and on whose behalf.

use super::{Method, Principal, Role};
use crate::types::{DeviceId, Target, UserId};

/// What a role may do with a method. A caller of several roles may do what any of them may, but that it reaches every holder
/// only if none of its other roles allows the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grant {
    /// Nothing.
    No,
    /// On the pool of its own device; with reservations of its own.
    Own,
    /// With reservations of its own, of packages of its own user's devices and of whom it may invite.
    Invite,
    /// On every pool; with reservations of any user that it names, or of its own.
    Any,
    /// With every reservation, whoever holds it.
    AnyHolder,
}

/// The whole policy. A method without a line does not compile.
#[rustfmt::skip]
const fn grants(method: Method) -> [Grant; Role::ALL.len()] {
    use Grant::{Any, AnyHolder, Invite, No, Own};
    match method {
        //                             device  inviter  backend  admin
        Method::UploadKeyPackages  => [Own,    No,      Any,     No],
        Method::GetPoolStatus      => [Own,    No,      Any,     No],
        Method::WatchPool          => [Own,    No,      Any,     No],
        Method::ReconcilePool      => [Own,    No,      Any,     No],
        Method::RevokeKeyPackages  => [Own,    No,      Any,     Any],
        Method::ReserveKeyPackages => [No,     Invite,  Any,     No],
        Method::SpendReservation   => [No,     Own,     Any,     No],
        Method::ExtendReservation  => [No,     Own,     Any,     No],
        Method::ReleaseReservation => [No,     Own,     Any,     AnyHolder],
        Method::ListSpendLog       => [No,     No,      No,      Any],
    }
}

/// What a call is about.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// The pool of a device, or of every device of a user.
    Pool(&'a UserId, Option<&'a DeviceId>),
    /// Reservations of a user; none means of the caller.
    Reservations(Option<&'a UserId>),
    /// Packages to reserve, of a user or a device.
    Target(&'a Target),
    /// The spend log.
    SpendLog,
}

/// How far an allowed call reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// To what it is about.
    Named,
    /// To every reservation, whoever holds it.
    EveryHolder,
}

/// The policy does not allow the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied;

/// Decides whether a caller may call a method about something.
///
/// # Errors
/// If none of its roles allows that.
pub fn authorize(
    principal: &Principal,
    method: Method,
    subject: Subject<'_>,
) -> Result<Reach, Denied> {
    let roles = principal.roles();
    let has = |wanted: Grant| {
        let granted = Role::ALL.into_iter().zip(grants(method));
        granted.into_iter().any(|(role, grant)| grant == wanted && roles.contains(role))
    };
    let about_itself = matches!(subject, Subject::Reservations(None));
    let is_own = || is_own(principal, subject);
    let is_invited = || matches!(subject, Subject::Target(target) if principal.may_invite(target));
    if has(Grant::Any)
        || has(Grant::Own) && is_own()
        || has(Grant::Invite) && (is_own() || is_invited())
    {
        Ok(Reach::Named)
    } else if has(Grant::AnyHolder) && about_itself {
        Ok(Reach::EveryHolder)
    } else {
        Err(Denied)
    }
}

/// Whether a call is about what is the caller's own.
fn is_own(principal: &Principal, subject: Subject<'_>) -> bool {
    match subject {
        Subject::Pool(user, device) => {
            let own_device = principal.device_id();
            principal.user_id() == Some(user) && (own_device.is_none() || own_device == device)
        }
        Subject::Reservations(None) => true,
        Subject::Reservations(of) => principal.user_id() == of,
        Subject::Target(_) | Subject::SpendLog => false,
    }
}
