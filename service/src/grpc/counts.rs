//! What calls came to, counted by the API's words.

use super::encode::{hold_reason, missing_reason};
use crate::{
    pool::{MissingTarget, PoolError, ReserveReport, ReservedPackage, UploadReport, UploadResult},
    telemetry::catalogue::{HANDED_OUT, HOLDS, MISSING, REVOKED, UPLOADED},
};
use keypool_proto::v1;
use metrics::Counter;
use std::sync::LazyLock;

/// What a reserve handed out, and for whom it had nothing.
pub(super) fn reserve(result: &Result<ReserveReport, PoolError>) {
    match result {
        Ok(report) => {
            report.reservation.packages.iter().for_each(handed_out);
            missing(&report.missing);
        }
        Err(PoolError::NothingReserved(targets)) => missing(targets),
        Err(_) => {}
    }
}

fn handed_out(one: &ReservedPackage) {
    // Each call counts here: looked up once.
    static ONE_TIME: LazyLock<Counter> = LazyLock::new(|| HANDED_OUT.with(["one_time"]));
    if one.package.found {
        return;
    }
    if one.package.last_resort {
        HANDED_OUT.count(["last_resort"]);
    } else {
        ONE_TIME.increment(1);
    }
}

fn missing(targets: &[MissingTarget]) {
    for target in targets {
        MISSING.count([missing_reason(target.reason).as_reason()]);
    }
}

/// What became of packages that a reservation has.
pub(super) fn holds<T>(operation: &'static str, packages: usize, result: &Result<T, PoolError>) {
    let count = |outcome, count: usize| {
        if count > 0 {
            HOLDS.with([operation, outcome]).increment(u64::try_from(count).unwrap_or(u64::MAX));
        }
    };
    match result {
        Ok(_) => count("ok", packages),
        Err(PoolError::Packages(_, packages)) => {
            let faults = packages.iter().filter_map(|one| one.fault);
            faults.clone().for_each(|fault| count(hold_reason(fault).as_reason(), 1));
            count("ok", packages.len() - faults.count());
        }
        Err(_) => {}
    }
}

/// What was uploaded.
pub(super) fn upload(report: &UploadReport) {
    for result in &report.results {
        UPLOADED.count([match result {
            UploadResult::Accepted(_) => "accepted",
            UploadResult::AlreadyPresent(_) => "already_present",
            UploadResult::Rejected(rejection) => {
                let reason = v1::RejectionReason::from(rejection.reason).as_str_name();
                reason.trim_start_matches("REJECTION_REASON_")
            }
        }]);
    }
}

/// What was taken out of circulation, by which call.
pub(super) fn revoked(by: &'static str, count: usize) {
    REVOKED.with([by]).increment(u64::try_from(count).unwrap_or(u64::MAX));
}
