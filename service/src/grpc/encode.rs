//! The domain's types into responses.

use super::decode::page_token;
use crate::{
    pool::{
        CipherSuiteStatus, DeviceStatus, Health, HoldFault, MissingReason, MissingTarget,
        PackageFault, PackageName, ReconcileReport, ReserveReport, ReservedPackage, UploadReport,
        UploadResult,
        validation::{Rejection, RejectionReason},
    },
    store::{LogRow, UnavailableState},
    types::KeyPackageRef,
};
use jiff::{SignedDuration, Timestamp};
use keypool_proto::v1::{self, ErrorReason};

pub(super) fn time(time: Timestamp) -> prost_types::Timestamp {
    // A jiff timestamp before 1970 has negative nanoseconds, a protobuf one never does.
    let nanos = time.subsec_nanosecond();
    let (seconds, nanos) = if nanos < 0 {
        (time.as_second() - 1, nanos + 1_000_000_000)
    } else {
        (time.as_second(), nanos)
    };
    prost_types::Timestamp { seconds, nanos }
}

fn bytes(reference: &KeyPackageRef) -> Vec<u8> {
    reference.as_bytes().to_vec()
}

pub(super) fn name(name: &PackageName) -> v1::KeyPackageName {
    v1::KeyPackageName {
        user_id: name.user.to_string(),
        device_id: name.device.to_string(),
        key_package_ref: bytes(&name.reference),
    }
}

pub(super) fn upload(report: UploadReport, now: Timestamp) -> v1::UploadKeyPackagesResponse {
    v1::UploadKeyPackagesResponse {
        results: report.results.into_iter().map(upload_result).collect(),
        pool_status: Some(device_status(report.status)),
        service_time: Some(time(now)),
    }
}

fn upload_result(result: UploadResult) -> v1::UploadResult {
    match result {
        UploadResult::Accepted(reference) => present(v1::UploadOutcome::Accepted, &reference),
        UploadResult::AlreadyPresent(reference) => {
            present(v1::UploadOutcome::AlreadyPresent, &reference)
        }
        UploadResult::Rejected(Rejection { reason, reference, message }) => v1::UploadResult {
            outcome: v1::UploadOutcome::Rejected.into(),
            key_package_ref: reference.as_ref().map(bytes).unwrap_or_default(),
            rejection_reason: v1::RejectionReason::from(reason).into(),
            message,
        },
    }
}

fn present(outcome: v1::UploadOutcome, reference: &KeyPackageRef) -> v1::UploadResult {
    v1::UploadResult {
        outcome: outcome.into(),
        key_package_ref: bytes(reference),
        ..v1::UploadResult::default()
    }
}

impl From<RejectionReason> for v1::RejectionReason {
    /// The reason as the API names it.
    fn from(reason: RejectionReason) -> Self {
        use RejectionReason as Reason;
        use v1::RejectionReason as Api;
        match reason {
            Reason::Malformed => Api::Malformed,
            Reason::TooLarge => Api::TooLarge,
            Reason::UnsupportedProtocolVersion => Api::UnsupportedProtocolVersion,
            Reason::UnsupportedCipherSuite => Api::UnsupportedCipherSuite,
            Reason::InvalidSignature => Api::InvalidSignature,
            Reason::InitKeyEqualsEncryptionKey => Api::InitKeyEqualsEncryptionKey,
            Reason::InvalidLeafNodeSource => Api::InvalidLeafNodeSource,
            Reason::NotYetValid => Api::NotYetValid,
            Reason::Expired => Api::Expired,
            Reason::InvalidLifetime => Api::InvalidLifetime,
            Reason::ExtensionNotInCapabilities => Api::ExtensionNotInCapabilities,
            Reason::CredentialNotInCapabilities => Api::CredentialNotInCapabilities,
            Reason::CipherSuiteNotInCapabilities => Api::CipherSuiteNotInCapabilities,
            Reason::UnsupportedCredentialType => Api::UnsupportedCredentialType,
            Reason::WrongIdentity => Api::WrongIdentity,
            Reason::AmbiguousIdentity => Api::AmbiguousIdentity,
            Reason::InitKeyReused => Api::InitKeyReused,
            Reason::BelongsToOtherDevice => Api::BelongsToOtherDevice,
            Reason::AlreadySpent => Api::AlreadySpent,
            Reason::Revoked => Api::Revoked,
            Reason::PoolFull => Api::PoolFull,
            Reason::QuotaExceeded => Api::QuotaExceeded,
            Reason::Invalid => Api::Invalid,
        }
    }
}

fn health(health: Health) -> v1::PoolHealth {
    match health {
        Health::Empty => v1::PoolHealth::Empty,
        Health::Low => v1::PoolHealth::Low,
        Health::Healthy => v1::PoolHealth::Healthy,
    }
}

pub(super) fn statuses(devices: Vec<DeviceStatus>) -> v1::GetPoolStatusResponse {
    let read_at = devices.iter().map(|device| device.read_at).min();
    v1::GetPoolStatusResponse {
        devices: devices.into_iter().map(device_status).collect(),
        read_time: read_at.map(time),
    }
}

pub(super) fn device_status(status: DeviceStatus) -> v1::DevicePoolStatus {
    v1::DevicePoolStatus {
        user_id: status.user.to_string(),
        device_id: status.device.to_string(),
        health: health(status.health).into(),
        pools: status.pools.into_iter().map(cipher_suite_pool).collect(),
        last_upload_time: status.last_upload_at.map(time),
        unusable_key_packages: status
            .unusable
            .iter()
            .map(|report| v1::UnusableKeyPackage {
                key_package_ref: bytes(&report.reference),
                reason: report.reason.into(),
                report_time: Some(time(report.reported_at)),
            })
            .collect(),
    }
}

fn cipher_suite_pool(pool: CipherSuiteStatus) -> v1::CipherSuitePool {
    let counts = pool.counts;
    v1::CipherSuitePool {
        cipher_suite: counts.cipher_suite.0.into(),
        accepted: counts.accepted,
        available: counts.available,
        reserved: counts.reserved,
        spent: counts.spent,
        expired: counts.expired,
        revoked: counts.revoked,
        purged: counts.purged,
        expiring_soon: counts.expiring_soon,
        last_resort: counts.last_resort.map(|last_resort| v1::LastResortStatus {
            key_package_ref: bytes(&last_resort.reference),
            use_count: last_resort.uses,
            not_after_time: Some(time(last_resort.not_after)),
            upload_time: Some(time(last_resort.uploaded_at)),
        }),
        health: health(pool.health).into(),
        recommended_upload_count: pool.recommended_upload_count,
        recommended_action: pool.recommended_action,
        quarantined: counts.quarantined,
        returned: counts.returned,
        unspent_hand_outs: counts.unspent,
    }
}

pub(super) fn reserve(report: ReserveReport) -> v1::ReserveKeyPackagesResponse {
    let reservation = report.reservation;
    v1::ReserveKeyPackagesResponse {
        reservation: Some(v1::Reservation {
            reservation_id: reservation.id.to_string(),
            group_id: reservation.group.as_bytes().to_vec(),
            expire_time: reservation.expires_at().map(time),
            packages: reservation.packages.into_iter().map(reserved).collect(),
        }),
        missing: report.missing.iter().map(missing).collect(),
    }
}

fn reserved(one: ReservedPackage) -> v1::ReservedKeyPackage {
    let package = one.package;
    v1::ReservedKeyPackage {
        name: Some(v1::KeyPackageName {
            user_id: one.user.to_string(),
            device_id: one.device.to_string(),
            key_package_ref: bytes(&package.reference),
        }),
        key_package: package.key_package,
        cipher_suite: package.cipher_suite.0.into(),
        not_after_time: Some(time(package.not_after)),
        hold_expire_time: package.held_until.map(time),
        last_resort: package.last_resort,
        spent: package.spent,
    }
}

pub(super) fn missing(target: &MissingTarget) -> v1::MissingTarget {
    v1::MissingTarget {
        user_id: target.user.to_string(),
        device_id: target.device.as_ref().map(ToString::to_string).unwrap_or_default(),
        reason: missing_reason(target.reason).into(),
        message: missing_message(target.reason).into(),
        retry_after: target.limited.map(|limited| duration(limited.wait)),
        limit: target.limited.map(|limited| limited.limit.name().into()).unwrap_or_default(),
        target_index: None,
    }
}

fn duration(span: SignedDuration) -> prost_types::Duration {
    prost_types::Duration { seconds: span.as_secs(), nanos: span.subsec_nanos() }
}

pub(super) fn missing_reason(reason: MissingReason) -> ErrorReason {
    match reason {
        MissingReason::PoolExhausted => ErrorReason::PoolExhausted,
        MissingReason::NoCompatiblePackage => ErrorReason::NoCompatiblePackage,
        MissingReason::RateLimited => ErrorReason::RateLimited,
        MissingReason::Contended => ErrorReason::Contended,
        MissingReason::UnknownDevice => ErrorReason::UnknownDevice,
        MissingReason::UnknownUser => ErrorReason::UnknownUser,
    }
}

pub(super) fn missing_message(reason: MissingReason) -> &'static str {
    match reason {
        MissingReason::PoolExhausted => {
            "No valid KeyPackage available for target user: its device has to upload new ones"
        }
        MissingReason::NoCompatiblePackage => {
            "No compatible KeyPackage: the device has none of these cipher suites and this lifetime"
        }
        MissingReason::RateLimited => {
            "A limit was hit: wait as long as retry_after says, or spend or release what is held"
        }
        MissingReason::Contended => "The device's KeyPackages are locked by other calls: try again",
        MissingReason::UnknownDevice => "Unknown device: it never uploaded a KeyPackage",
        MissingReason::UnknownUser => {
            "Unknown user: none of its devices ever uploaded a KeyPackage"
        }
    }
}

/// The outcomes of packages none of which failed.
pub(super) fn done(names: &[PackageName]) -> Vec<v1::KeyPackageOutcome> {
    let outcome = |package| v1::KeyPackageOutcome { name: Some(name(package)) };
    names.iter().map(outcome).collect()
}

/// The packages of a call that failed, by their positions.
pub(super) fn failures(packages: &[PackageFault]) -> Vec<v1::KeyPackageFailure> {
    let failure = |(index, fault): (u32, &PackageFault)| {
        let reason = hold_reason(fault.fault?).into();
        Some(v1::KeyPackageFailure { index, reason })
    };
    (0..).zip(packages).filter_map(failure).collect()
}

pub(super) fn hold_reason(fault: HoldFault) -> ErrorReason {
    match fault {
        HoldFault::AlreadySpent => ErrorReason::KeyPackageAlreadySpent,
        HoldFault::Lost => ErrorReason::ReservationLost,
        HoldFault::HeldTooLong => ErrorReason::HoldTooLong,
        HoldFault::OtherGroup => ErrorReason::ReservationIdReused,
        HoldFault::Expired => ErrorReason::KeyPackageExpired,
        HoldFault::Revoked => ErrorReason::KeyPackageRevoked,
        HoldFault::NotFound => ErrorReason::ReservationNotFound,
        HoldFault::Contended => ErrorReason::Contended,
    }
}

pub(super) fn hold_message(fault: HoldFault) -> &'static str {
    match fault {
        HoldFault::AlreadySpent => "KeyPackage already spent: do not use it",
        HoldFault::Lost => {
            "Reservation has expired and its KeyPackage went to another: do not send its Welcome"
        }
        HoldFault::HeldTooLong => "The hold was as long as it may be in all: reserve again",
        HoldFault::OtherGroup => "The reservation was made for another group",
        HoldFault::Expired => "KeyPackage has expired: reserve another",
        HoldFault::Revoked => "KeyPackage has been revoked: reserve another",
        HoldFault::NotFound => "KeyPackage not found or expired: the reservation does not hold it",
        HoldFault::Contended => "The KeyPackage is locked by another call: try again",
    }
}

pub(super) fn reconcile(report: ReconcileReport) -> v1::ReconcilePoolResponse {
    v1::ReconcilePoolResponse {
        revoked_key_package_refs: report.revoked.iter().map(bytes).collect(),
        unavailable_key_packages: report
            .unavailable
            .iter()
            .map(|one| v1::ReconciledKeyPackage {
                key_package_ref: bytes(&one.reference),
                state: unavailable_state(one.state).into(),
            })
            .collect(),
        pool_status: Some(device_status(report.status)),
    }
}

fn unavailable_state(state: UnavailableState) -> v1::UnavailableState {
    match state {
        UnavailableState::Unknown => v1::UnavailableState::Unknown,
        UnavailableState::Spent => v1::UnavailableState::Spent,
        UnavailableState::Expired => v1::UnavailableState::Expired,
        UnavailableState::Revoked => v1::UnavailableState::Revoked,
        UnavailableState::Superseded => v1::UnavailableState::Superseded,
        UnavailableState::Reserved => v1::UnavailableState::Reserved,
        UnavailableState::Returned => v1::UnavailableState::Returned,
    }
}

pub(super) fn spend_log(rows: Vec<LogRow>, limit: u32) -> v1::ListSpendLogResponse {
    let full = u32::try_from(rows.len()).is_ok_and(|length| length == limit);
    let next = rows.last().filter(|_| full).map(|row| page_token(&row.position));
    v1::ListSpendLogResponse {
        entries: rows.into_iter().map(entry).collect(),
        next_page_token: next.unwrap_or_default(),
    }
}

fn entry(row: LogRow) -> v1::SpendLogEntry {
    v1::SpendLogEntry {
        user_id: row.user.to_string(),
        device_id: row.device.to_string(),
        key_package_ref: bytes(&row.position.reference),
        cipher_suite: row.cipher_suite.0.into(),
        last_resort: row.last_resort,
        reservation_id: row.position.reservation.to_string(),
        group_id: row.group.as_bytes().to_vec(),
        holder: row.position.holder.to_string(),
        principal: row.principal.map(|principal| principal.to_string()).unwrap_or_default(),
        log_time: Some(time(row.position.logged_at)),
        spend_time: row.spent_at.map(time),
        release_time: row.released_at.map(time),
        lapse_time: row.lapsed_at.map(time),
        unusable_reason: row.unusable_reason.map_or(0, i32::from),
    }
}
