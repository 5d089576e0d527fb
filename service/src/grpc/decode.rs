//! Requests into the domain's types. Every field that breaks its contract is reported, each with its path.

use super::{access::Access, error::invalid_argument};
use crate::{
    pool::{
        Caller, Extension, HoldRequest, PackageName, Policy, Release, ReserveRequest, Selector,
        SpendRequest, Target,
    },
    store::{LogFilter, LogPosition},
    types::{CipherSuite, DeviceId, GroupId, Holder, KeyPackageRef, ReservationId, UserId},
};
use jiff::{SignedDuration, Timestamp};
use keypool_proto::v1;
use std::{collections::HashSet, fmt::Display, ops::RangeInclusive};
use tonic::Status;

/// How many packages or targets one call may name.
const ITEMS: RangeInclusive<usize> = 1..=100;
const MAX_EXCLUDED: usize = 100;
const MAX_CIPHER_SUITES: usize = 16;
const MAX_REFS: usize = 1000;
const MAX_CREDENTIAL_BYTES: usize = 64 * 1024;
const MAX_PAGE: u32 = 1000;
const DEFAULT_PAGE: u32 = 100;

/// Where google.protobuf.Timestamp begins: the year 1. Earlier ones could be times that PostgreSQL doesn't know.
const FIRST_TIME: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// Collects what is wrong with a request's fields.
#[derive(Default)]
pub(super) struct Fields {
    violations: Vec<(String, String)>,
    refusal: Option<Status>,
}

impl Fields {
    /// Reads a request: its value, or INVALID_ARGUMENT with every violation found.
    pub(super) fn read<T>(read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, Box<Status>> {
        let mut fields = Self::default();
        let value = read(&mut fields);
        match (value, fields.refusal) {
            (_, Some(refusal)) => Err(Box::new(refusal)),
            (Some(value), None) if fields.violations.is_empty() => Ok(value),
            _ => Err(Box::new(invalid_argument(fields.violations))),
        }
    }

    /// Notes that the caller may not do what the request asks for, which weighs more than what is wrong with it.
    pub(super) fn refuse(&mut self, refusal: Status) {
        self.refusal = Some(refusal);
    }

    fn violation(&mut self, path: impl Into<String>, description: impl Display) {
        self.violations.push((path.into(), description.to_string()));
    }

    /// The value, or none with its error noted.
    pub(super) fn check<T, E: Display>(
        &mut self,
        path: impl Into<String>,
        value: Result<T, E>,
    ) -> Option<T> {
        value.map_err(|error| self.violation(path, error)).ok()
    }

    /// The value of an optional field, where empty means absent; `Some(None)` if it is.
    pub(super) fn optional<T, E: Display>(
        &mut self,
        path: impl Into<String>,
        raw: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        if raw.is_empty() {
            return Some(None);
        }
        self.check(path, parse(raw)).map(Some)
    }

    /// Each element of a list, with its path; none if any is wrong or the list has too few or too many.
    fn list<R, T>(
        &mut self,
        path: &str,
        raw: &[R],
        lengths: RangeInclusive<usize>,
        mut read: impl FnMut(&mut Self, &str, &R) -> Option<T>,
    ) -> Option<Vec<T>> {
        if !lengths.contains(&raw.len()) {
            let (least, most) = (lengths.start(), lengths.end());
            self.violation(
                path,
                format!("must have {least} to {most} elements, has {}", raw.len()),
            );
            return None;
        }
        // Every element is read, so that every violation is reported.
        let read: Vec<Option<T>> = raw
            .iter()
            .enumerate()
            .map(|(n, element)| read(self, &format!("{path}[{n}]"), element))
            .collect();
        read.into_iter().collect()
    }

    fn span(
        &mut self,
        path: &str,
        raw: Option<&prost_types::Duration>,
        range: RangeInclusive<SignedDuration>,
    ) -> Option<Option<SignedDuration>> {
        let Some(raw) = raw else { return Some(None) };
        let span = SignedDuration::try_from_secs_and_nanos(raw);
        match span {
            Some(span) if range.contains(&span) => Some(Some(span)),
            _ => {
                let (least, most) = (range.start(), range.end());
                self.violation(path, format!("must be {least:#} to {most:#}"));
                None
            }
        }
    }

    fn time(
        &mut self,
        path: &str,
        raw: Option<prost_types::Timestamp>,
    ) -> Option<Option<Timestamp>> {
        let Some(raw) = raw else { return Some(None) };
        if !(0..1_000_000_000).contains(&raw.nanos) {
            self.violation(path, "must have 0 to 999999999 nanoseconds");
            return None;
        }
        let time = Timestamp::new(raw.seconds, raw.nanos).ok().filter(|time| *time >= FIRST_TIME);
        self.check(path, time.ok_or("must be of the years 1 to 9999")).map(Some)
    }
}

trait FromProto: Sized {
    fn try_from_secs_and_nanos(raw: &prost_types::Duration) -> Option<Self>;
}

impl FromProto for SignedDuration {
    /// None for what google.protobuf.Duration does not allow.
    fn try_from_secs_and_nanos(raw: &prost_types::Duration) -> Option<Self> {
        let same_sign = raw.seconds == 0 || raw.nanos == 0 || (raw.seconds > 0) == (raw.nanos > 0);
        (same_sign && raw.nanos.unsigned_abs() < 1_000_000_000)
            .then(|| Self::new(raw.seconds, raw.nanos))
    }
}

pub(super) fn user_and_device(
    fields: &mut Fields,
    user: &str,
    device: &str,
) -> Option<(UserId, DeviceId)> {
    let user = fields.check("user_id", UserId::new(user));
    let device = fields.check("device_id", DeviceId::new(device));
    Some((user?, device?))
}

pub(super) fn user_and_optional_device(
    fields: &mut Fields,
    user: &str,
    device: &str,
) -> Option<(UserId, Option<DeviceId>)> {
    let user = fields.check("user_id", UserId::new(user));
    let device = fields.optional("device_id", device, DeviceId::new);
    Some((user?, device?))
}

pub(super) fn upload(
    fields: &mut Fields,
    request: v1::UploadKeyPackagesRequest,
) -> Option<(UserId, DeviceId, Vec<Vec<u8>>)> {
    let ids = user_and_device(fields, &request.user_id, &request.device_id);
    // The packages themselves are judged one by one later: a bad one must not fail its neighbours.
    let packages = fields.list("key_packages", &request.key_packages, ITEMS, |_, _, _| Some(()));
    let ((user, device), _) = (ids?, packages?);
    Some((user, device, request.key_packages))
}

pub(super) fn refs(
    fields: &mut Fields,
    path: &str,
    raw: &[Vec<u8>],
    least: usize,
) -> Option<Vec<KeyPackageRef>> {
    fields.list(path, raw, least..=MAX_REFS, |fields, path, raw| {
        fields.check(path, KeyPackageRef::new(raw))
    })
}

pub(super) fn selector(
    fields: &mut Fields,
    selector: Option<v1::revoke_key_packages_request::Selector>,
) -> Option<Selector> {
    use v1::revoke_key_packages_request::Selector as Raw;
    match selector {
        None => {
            fields.violation("selector", "must be one of refs, credential and all");
            None
        }
        Some(Raw::All(_)) => Some(Selector::All),
        Some(Raw::Refs(raw)) => {
            refs(fields, "refs.key_package_refs", &raw.key_package_refs, 1).map(Selector::Refs)
        }
        Some(Raw::Credential(raw)) => {
            if raw.credential.is_empty() && raw.signature_key.is_empty() {
                fields.violation("credential", "must set credential, signature_key, or both");
                return None;
            }
            let mut bytes = |path, value: Vec<u8>| {
                if value.len() > MAX_CREDENTIAL_BYTES {
                    fields
                        .violation(path, format!("must have at most {MAX_CREDENTIAL_BYTES} bytes"));
                    return None;
                }
                Some((!value.is_empty()).then_some(value))
            };
            let credential = bytes("credential.credential", raw.credential);
            let signature_key = bytes("credential.signature_key", raw.signature_key);
            Some(Selector::Credential { credential: credential?, signature_key: signature_key? })
        }
    }
}

pub(super) fn reserve(
    fields: &mut Fields,
    request: &v1::ReserveKeyPackagesRequest,
    access: &Access,
    policy: &Policy,
) -> Option<ReserveRequest> {
    let caller = access.reservations(fields, &request.on_behalf_of);
    let reservation = fields.check("reservation_id", ReservationId::new(&request.reservation_id));
    let group = fields.check("group_id", GroupId::new(&request.group_id));
    let targets = fields.list("targets", &request.targets, ITEMS, target);
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

fn target(fields: &mut Fields, path: &str, raw: &v1::Target) -> Option<Target> {
    let user = fields.check(format!("{path}.user_id"), UserId::new(&raw.user_id));
    let device = fields.optional(format!("{path}.device_id"), &raw.device_id, DeviceId::new);
    let path = format!("{path}.excluded_device_ids");
    if !raw.device_id.is_empty() && !raw.excluded_device_ids.is_empty() {
        fields.violation(path, "must be empty where device_id is set");
        return None;
    }
    let excluded =
        fields.list(&path, &raw.excluded_device_ids, 0..=MAX_EXCLUDED, |fields, path, raw| {
            fields.check(path, DeviceId::new(raw))
        });
    Some(Target { user: user?, device: device?, excluded: excluded? })
}

pub(super) fn spend(
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

pub(super) fn release(
    fields: &mut Fields,
    request: &v1::ReleaseReservationRequest,
    access: &Access,
) -> Option<Release> {
    let caller = access.reservations(fields, &request.on_behalf_of);
    let reservation = fields.check("reservation_id", ReservationId::new(&request.reservation_id));
    let mut seen = HashSet::new();
    let items = fields.list("packages", &request.packages, ITEMS, |fields, path, raw| {
        let reason_path = format!("{path}.unusable_reason");
        let reason = match v1::UnusableReason::try_from(raw.unusable_reason) {
            Ok(v1::UnusableReason::Unspecified) => Some(None),
            Ok(reason) => fields.check(reason_path, i16::try_from(i32::from(reason))).map(Some),
            Err(_unknown) => {
                fields.violation(reason_path, "must be a known UnusableReason");
                None
            }
        };
        let name = name(fields, &format!("{path}.name"), raw.name.as_ref(), &mut seen);
        Some((name?, reason?))
    });
    let (packages, unusable) = items.map(|items| items.into_iter().unzip()).unzip();
    Some(Release { hold: hold(caller, reservation, packages)?, unusable: unusable? })
}

pub(super) fn extend(
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
    let mut seen = HashSet::new();
    fields
        .list("packages", raw, ITEMS, |fields, path, raw| name(fields, path, Some(raw), &mut seen))
}

fn name(
    fields: &mut Fields,
    path: &str,
    raw: Option<&v1::KeyPackageName>,
    seen: &mut HashSet<PackageName>,
) -> Option<PackageName> {
    let Some(raw) = raw else {
        fields.violation(path, "must be set");
        return None;
    };
    let user = fields.check(format!("{path}.user_id"), UserId::new(&raw.user_id));
    let device = fields.check(format!("{path}.device_id"), DeviceId::new(&raw.device_id));
    let reference =
        fields.check(format!("{path}.key_package_ref"), KeyPackageRef::new(&raw.key_package_ref));
    let name = PackageName { user: user?, device: device?, reference: reference? };
    if !seen.insert(name.clone()) {
        fields.violation(path, "names the same package as an element before it");
        return None;
    }
    Some(name)
}

/// What a page of the spend log should hold.
pub(super) struct LogQuery {
    pub(super) filter: LogFilter,
    pub(super) after: Option<LogPosition>,
    pub(super) limit: u32,
}

pub(super) fn spend_log(fields: &mut Fields, request: v1::ListSpendLogRequest) -> Option<LogQuery> {
    let raw = request.filter.unwrap_or_default();
    let user = fields.optional("filter.user_id", &raw.user_id, UserId::new);
    let device = fields.optional("filter.device_id", &raw.device_id, DeviceId::new);
    if raw.user_id.is_empty() && !raw.device_id.is_empty() {
        fields.violation("filter.device_id", "needs filter.user_id");
    }
    let reservation =
        fields.optional("filter.reservation_id", &raw.reservation_id, ReservationId::new);
    let group = if raw.group_id.is_empty() {
        Some(None)
    } else {
        fields.check("filter.group_id", GroupId::new(&raw.group_id)).map(Some)
    };
    let holder = fields.optional("filter.holder", &raw.holder, Holder::new);
    let start = fields.time("filter.start_time", raw.start_time);
    let end = fields.time("filter.end_time", raw.end_time);
    let after = fields.optional("page_token", &request.page_token, page_position);
    if request.page_size > MAX_PAGE {
        fields.violation("page_size", format!("must be at most {MAX_PAGE}"));
    }
    let filter = LogFilter {
        user: user?,
        device: device?,
        reservation: reservation?,
        group: group?,
        holder: holder?,
        start: start?,
        end: end?,
    };
    let limit = if request.page_size == 0 { DEFAULT_PAGE } else { request.page_size };
    Some(LogQuery { filter, after: after?, limit })
}

/// Writes where a page ended as a token: time in microseconds, ref and reservation, joined by dots.
pub(super) fn page_token(position: &LogPosition) -> String {
    let micros = position.logged_at.as_microsecond();
    format!("{micros}.{}.{}", position.reference, position.reservation)
}

fn page_position(token: &str) -> Result<LogPosition, &'static str> {
    let read = || {
        let mut parts = token.splitn(3, '.');
        let micros = parts.next()?.parse().ok()?;
        Some(LogPosition {
            logged_at: Timestamp::from_microsecond(micros).ok().filter(|at| *at >= FIRST_TIME)?,
            reference: KeyPackageRef::new(unhex(parts.next()?)?).ok()?,
            reservation: ReservationId::new(parts.next()?).ok()?,
        })
    };
    read().ok_or("must be a next_page_token of ListSpendLog")
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            &[high, low] => Some(nibble(high)? << 4 | nibble(low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_tokens_come_back_as_they_went() {
        let position = LogPosition {
            logged_at: Timestamp::from_microsecond(1_234_567).unwrap(),
            reference: KeyPackageRef::new([0xab; 32]).unwrap(),
            reservation: ReservationId::new("with.dots").unwrap(),
        };
        assert_eq!(page_position(&page_token(&position)), Ok(position));
        for broken in ["x", "1.2", "1.zz.r", "1.abc.r", "99999999999999999999.00.r"] {
            assert!(page_position(broken).is_err(), "{broken}");
        }
    }
}
