//! What a pool needs.

use std::time::{Duration, SystemTime};

use keypool_proto::v1::CipherSuitePool;

use super::super::store::PoolRecord;

/// The target of a pool that the service doesn't know yet.
const FIRST_UPLOAD_COUNT: u32 = 32;

/// More than any pool holds, whatever the service recommends.
const MAX_UPLOAD_COUNT: usize = 1000;

/// A used last-resort package is replaced no sooner than this after its upload.
const LAST_RESORT_REST: Duration = Duration::from_secs(10 * 60);

/// A last-resort package that has no longer to live is replaced.
const EXPIRING_SOON: Duration = Duration::from_secs(48 * 60 * 60);

/// How many one-time packages of the current credential a pool needs, of which it has `current`, and
/// `outdated` ones of others that are to go.
pub(super) fn one_time_count(
    pool: Option<&CipherSuitePool>,
    current: usize,
    outdated: usize,
) -> usize {
    let recommended = pool.map_or(FIRST_UPLOAD_COUNT, |pool| pool.recommended_upload_count);
    // The service counts the outdated ones too. More than a pool's worth of them need no replacement.
    let replaced = outdated.min(FIRST_UPLOAD_COUNT as usize).saturating_sub(current);
    (recommended as usize + replaced).min(MAX_UPLOAD_COUNT)
}

/// Whether a last-resort package is to be uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastResort {
    /// Yes.
    Wanted,
    /// The one that there is was used, and is to be replaced then.
    RestsUntil(SystemTime),
    /// No.
    Good,
}

/// `record` finds the record of a package that can be relied on: live, of the current credential, and
/// with private keys.
pub(super) fn last_resort<'a>(
    pool: Option<&CipherSuitePool>,
    record: impl FnOnce(&[u8]) -> Option<&'a PoolRecord>,
    lifetime: Duration,
    now: SystemTime,
) -> LastResort {
    let Some(last_resort) = pool.and_then(|pool| pool.last_resort.as_ref()) else {
        return LastResort::Wanted;
    };
    let Some(record) = record(&last_resort.key_package_ref) else {
        return LastResort::Wanted;
    };
    let left = record.not_after.duration_since(now).unwrap_or_default();
    if left <= EXPIRING_SOON.min(lifetime / 4) {
        return LastResort::Wanted;
    }
    if last_resort.use_count == 0 {
        return LastResort::Good;
    }
    // Several groups may share keys with it.
    let uploaded_at = record.uploaded_at.unwrap_or(record.created_at);
    match uploaded_at.checked_add(LAST_RESORT_REST) {
        Some(rested) if now < rested => LastResort::RestsUntil(rested),
        _ => LastResort::Wanted,
    }
}

#[cfg(test)]
mod tests {
    use keypool_proto::v1::LastResortStatus;

    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const LIFETIME: Duration = Duration::from_secs(14 * 24 * 60 * 60);

    fn pool(recommended_upload_count: u32, use_count: u64) -> CipherSuitePool {
        let last_resort = Some(LastResortStatus { use_count, ..Default::default() });
        CipherSuitePool { recommended_upload_count, last_resort, ..Default::default() }
    }

    #[test]
    fn the_service_recommends_how_many_there_should_be() {
        assert_eq!(one_time_count(None, 0, 0), 32);
        assert_eq!(one_time_count(Some(&pool(0, 0)), 40, 0), 0);
        assert_eq!(one_time_count(Some(&pool(7, 0)), 25, 0), 7);
        assert_eq!(one_time_count(Some(&pool(u32::MAX, 0)), 0, 0), MAX_UPLOAD_COUNT);
    }

    #[test]
    fn outdated_packages_are_replaced_once() {
        assert_eq!(one_time_count(Some(&pool(0, 0)), 0, 32), 32);
        assert_eq!(one_time_count(Some(&pool(22, 0)), 0, 10), 32);
        assert_eq!(one_time_count(Some(&pool(0, 0)), 0, 64), 32, "a full pool's worth");
        assert_eq!(one_time_count(Some(&pool(0, 0)), 20, 32), 12, "some are up already");
        assert_eq!(one_time_count(Some(&pool(0, 0)), 32, 32), 0);
    }

    #[test]
    fn a_last_resort_is_replaced_when_used_or_about_to_expire() {
        let start = SystemTime::UNIX_EPOCH;
        let record = PoolRecord::new(vec![], 1, true, vec![], start, start + LIFETIME);
        let at = |use_count, now| {
            last_resort(Some(&pool(0, use_count)), |_| Some(&record), LIFETIME, now)
        };
        assert_eq!(last_resort(None, |_| Some(&record), LIFETIME, start), LastResort::Wanted);
        assert_eq!(last_resort(Some(&pool(0, 0)), |_| None, LIFETIME, start), LastResort::Wanted);
        assert_eq!(at(0, start), LastResort::Good);
        assert_eq!(at(1, start), LastResort::RestsUntil(start + LAST_RESORT_REST));
        assert_eq!(at(1, start + HOUR), LastResort::Wanted);
        assert_eq!(at(0, start + LIFETIME - 49 * HOUR), LastResort::Good);
        assert_eq!(at(0, start + LIFETIME - 48 * HOUR), LastResort::Wanted);
    }

    #[test]
    fn a_short_lived_last_resort_is_not_replaced_all_the_time() {
        let start = SystemTime::UNIX_EPOCH;
        let record = PoolRecord::new(vec![], 1, true, vec![], start, start + 4 * HOUR);
        let at = |now| last_resort(Some(&pool(0, 0)), |_| Some(&record), 4 * HOUR, now);
        assert_eq!(at(start), LastResort::Good);
        assert_eq!(at(start + 3 * HOUR), LastResort::Wanted);
    }
}
