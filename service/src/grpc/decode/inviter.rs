//! What inviters ask: to reserve, and what to do with their reservations.

use super::{Fields, ITEMS};
use crate::{
    grpc::access::Access,
    pool::{
        Caller, Extension, HoldRequest, PackageName, Policy, Release, ReserveRequest, SpendRequest,
        Target,
    },
    store::Report,
    types::{CipherSuite, DeviceId, GroupId, KeyPackageRef, ReservationId, UserId},
};
use jiff::SignedDuration;
use keypool_proto::v1;
use std::{collections::BTreeSet, fmt::Display};

const MAX_EXCLUDED: usize = 100;
const MAX_CIPHER_SUITES: usize = 16;

pub(in crate::grpc) fn reserve(
    fields: &mut Fields,
    request: &v1::ReserveKeyPackagesRequest,
    access: &Access,
    policy: &Policy,
) -> Option<ReserveRequest> {
    let caller = access.reservations(fields, &request.on_behalf_of);
    let reservation = fields.check("reservation_id", ReservationId::new(&request.reservation_id));
    let group = fields.check("group_id", GroupId::new(&request.group_id));
    let mut seen = BTreeSet::new();
    let targets = fields.list("targets", &request.targets, ITEMS, |fields, path, raw| {
        fields.distinct(path, &mut seen, (&raw.user_id, &raw.device_id), "user or device")?;
        target(fields, path, raw)
    });
    if let Some(targets) = &targets {
        access.targets(fields, targets);
    }
    let suites = &request.cipher_suites;
    let cipher_suites =
        fields.list("cipher_suites", suites, 0..=MAX_CIPHER_SUITES, |fields, path, &raw| {
            match u16::try_from(raw) {
                Ok(suite) if suite > 0 => Some(CipherSuite(suite)),
                _ => {
                    fields.violation(path, "must be 1 to 65535");
                    None
                }
            }
        });
    let hold = fields.span("ttl", request.ttl.as_ref(), policy.min_hold..=policy.max_hold);
    let lifetimes = SignedDuration::ZERO..=policy.validation.max_lifetime;
    let min_remaining =
        fields.span("min_remaining_lifetime", request.min_remaining_lifetime.as_ref(), lifetimes);
    Some(ReserveRequest {
        caller: caller?,
        reservation: reservation?,
        group: group?,
        targets: targets?,
        cipher_suites: cipher_suites?,
        hold: hold?,
        min_remaining: min_remaining?,
        require_all: request.require_all,
    })
}

fn target(fields: &mut Fields, path: &dyn Display, raw: &v1::Target) -> Option<Target> {
    let user = fields.check(format_args!("{path}.user_id"), UserId::new(&raw.user_id));
    let device = fields.optional(format_args!("{path}.device_id"), &raw.device_id, DeviceId::new);
    let path = format_args!("{path}.excluded_device_ids");
    if !raw.device_id.is_empty() && !raw.excluded_device_ids.is_empty() {
        fields.violation(path, "must be empty where device_id is set");
        return None;
    }
    let mut seen = BTreeSet::new();
    let excluded =
        fields.list(path, &raw.excluded_device_ids, 0..=MAX_EXCLUDED, |fields, path, raw| {
            fields.distinct(path, &mut seen, raw, "device")?;
            fields.check(path, DeviceId::new(raw))
        });
    Some(Target { user: user?, device: device?, excluded: excluded? })
}

pub(in crate::grpc) fn spend(
    fields: &mut Fields,
    request: &v1::SpendReservationRequest,
    access: &Access,
) -> Option<SpendRequest> {
    let caller = access.reservations(fields, &request.on_behalf_of);
    let reservation = fields.check("reservation_id", ReservationId::new(&request.reservation_id));
    let group = fields.check("group_id", GroupId::new(&request.group_id));
    let packages = names(fields, &request.packages);
    Some(SpendRequest { hold: hold(caller, reservation, packages)?, group: group? })
}

pub(in crate::grpc) fn release(
    fields: &mut Fields,
    request: &v1::ReleaseReservationRequest,
    access: &Access,
) -> Option<Release> {
    let caller = access.reservations(fields, &request.on_behalf_of);
    let reservation = fields.check("reservation_id", ReservationId::new(&request.reservation_id));
    let mut seen = BTreeSet::new();
    let items = fields.list("packages", &request.packages, ITEMS, |fields, path, raw| {
        let reason_path = format_args!("{path}.unusable_reason");
        let reason = match v1::UnusableReason::try_from(raw.unusable_reason) {
            Ok(v1::UnusableReason::Unspecified) => Some(None),
            Ok(reason) => {
                let number = fields.check(reason_path, i16::try_from(i32::from(reason)));
                number
                    .map(|number| Some(Report { reason: number, is_believed: is_believed(reason) }))
            }
            Err(_unknown) => {
                fields.violation(reason_path, "must be a known UnusableReason");
                None
            }
        };
        let name = name(fields, &format_args!("{path}.name"), raw.name.as_ref(), &mut seen);
        Some((name?, reason?))
    });
    let (packages, reports) = items.map(|items| items.into_iter().unzip()).unzip();
    Some(Release { hold: hold(caller, reservation, packages)?, reports: reports? })
}

/// Whether a report is the caller's to make: other faults the service finds itself, if there are any.
fn is_believed(reason: v1::UnusableReason) -> bool {
    match reason {
        v1::UnusableReason::Unspecified
        | v1::UnusableReason::Malformed
        | v1::UnusableReason::InvalidSignature
        | v1::UnusableReason::InvalidLifetime
        | v1::UnusableReason::WrongIdentity
        | v1::UnusableReason::UnsupportedCapabilities => false,
        v1::UnusableReason::Other => true,
    }
}

pub(in crate::grpc) fn extend(
    fields: &mut Fields,
    request: &v1::ExtendReservationRequest,
    access: &Access,
    policy: &Policy,
) -> Option<Extension> {
    let caller = access.reservations(fields, &request.on_behalf_of);
    let reservation = fields.check("reservation_id", ReservationId::new(&request.reservation_id));
    let packages = names(fields, &request.packages);
    let ttl = fields.span("ttl", request.ttl.as_ref(), policy.min_hold..=policy.max_hold);
    Some(Extension { hold: hold(caller, reservation, packages)?, ttl: ttl? })
}

fn hold(
    caller: Option<Caller>,
    reservation: Option<ReservationId>,
    packages: Option<Vec<PackageName>>,
) -> Option<HoldRequest> {
    Some(HoldRequest { caller: caller?, reservation: reservation?, packages: packages? })
}

fn names(fields: &mut Fields, raw: &[v1::KeyPackageName]) -> Option<Vec<PackageName>> {
    let mut seen = BTreeSet::new();
    fields
        .list("packages", raw, ITEMS, |fields, path, raw| name(fields, path, Some(raw), &mut seen))
}

fn name(
    fields: &mut Fields,
    path: &dyn Display,
    raw: Option<&v1::KeyPackageName>,
    seen: &mut BTreeSet<PackageName>,
) -> Option<PackageName> {
    let Some(raw) = raw else {
        fields.violation(path, "must be set");
        return None;
    };
    let user = fields.check(format_args!("{path}.user_id"), UserId::new(&raw.user_id));
    let device = fields.check(format_args!("{path}.device_id"), DeviceId::new(&raw.device_id));
    let reference = fields
        .check(format_args!("{path}.key_package_ref"), KeyPackageRef::new(&raw.key_package_ref));
    let name = PackageName { user: user?, device: device?, reference: reference? };
    fields.distinct(path, seen, name.clone(), "package")?;
    Some(name)
}
