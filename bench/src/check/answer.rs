//! Whether an answer is about what was asked for.

use super::{Checker, Micros, Violation};
use keypool_proto::v1::{
    ErrorReason, ReserveKeyPackagesRequest, ReserveKeyPackagesResponse, ReservedKeyPackage,
};
use std::time::Duration;
use tonic::Status;
use tonic_types::StatusExt;

/// What every answer must fulfil.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// How long was asked to hold.
    pub(crate) ttl: Duration,
    /// How many bytes each package has.
    pub(crate) package_bytes: usize,
}

impl Checker {
    /// Checks the answer to a reserve of devices, of which each has packages. Both clocks are this machine's.
    pub(crate) fn reserved(
        &self,
        request: &ReserveKeyPackagesRequest,
        asked_at: Micros,
        answer: &ReserveKeyPackagesResponse,
        expected: Expected,
    ) {
        let id = request.reservation_id.as_str();
        for missing in &answer.missing {
            if missing.reason == i32::from(ErrorReason::PoolExhausted) {
                self.violated(Violation::FalselyExhausted, id);
            } else {
                self.violated(Violation::WrongAnswer, id);
            }
        }
        let packages = answer.reservation.as_ref().map_or(&[][..], |one| &one.packages);
        if let Some(what) = disagreement(request, answer, packages, asked_at, expected) {
            self.violated(Violation::WrongAnswer, &format!("{what}, in {id}"));
        }
        for package in packages {
            if let (Some(name), Some(end)) = (&package.name, &package.hold_expire_time) {
                self.held(&name.key_package_ref, id, end.into(), expected.ttl);
            }
        }
    }

    /// Checks what a word for word repeated reserve returned. Once its hold has lapsed, another may have the package.
    pub(crate) fn repeated(
        &self,
        first: &ReserveKeyPackagesResponse,
        again: &ReserveKeyPackagesResponse,
        ttl: Duration,
    ) {
        let packages = |answer: &ReserveKeyPackagesResponse| {
            answer.reservation.clone().map(|one| one.packages).unwrap_or_default()
        };
        let (first, again) = (packages(first), packages(again));
        let differs = |(one, other): (&ReservedKeyPackage, &ReservedKeyPackage)| {
            let lapsed = match (&one.hold_expire_time, &other.hold_expire_time) {
                (Some(end), Some(other)) => Micros::from(other).before(ttl) >= Micros::from(end),
                _ => false,
            };
            !lapsed && (one.name != other.name || one.key_package != other.key_package)
        };
        if first.len() != again.len() || first.iter().zip(&again).any(differs) {
            let name = first.first().and_then(|package| package.name.as_ref());
            let user = name.map_or("nobody", |name| name.user_id.as_str());
            self.violated(Violation::RepeatDiffers, user);
        }
    }

    /// Notes an error if it says that a pool is exhausted. Pools never are, by construction.
    pub(crate) fn refused(&self, status: &Status) -> bool {
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.as_str());
        let exhausted = reason == Some(ErrorReason::PoolExhausted.as_reason());
        if exhausted {
            self.violated(Violation::FalselyExhausted, status.message());
        }
        exhausted
    }
}

/// How much later the clock may be here than in the service, which goes by the database's: as long as a reading may take that it accepts.
const CLOCK_ERROR: Duration = Duration::from_millis(500);

/// In what an answer is not about what was asked for.
fn disagreement(
    request: &ReserveKeyPackagesRequest,
    answer: &ReserveKeyPackagesResponse,
    packages: &[ReservedKeyPackage],
    asked_at: Micros,
    expected: Expected,
) -> Option<&'static str> {
    let same_reservation = |answer: &keypool_proto::v1::Reservation| {
        answer.reservation_id == request.reservation_id && answer.group_id == request.group_id
    };
    if !answer.reservation.as_ref().is_some_and(same_reservation) {
        return Some("another reservation");
    }
    let mut wanted: Vec<_> =
        request.targets.iter().map(|target| (&target.user_id, &target.device_id)).collect();
    wanted.sort_unstable();
    let names = packages.iter().filter_map(|package| package.name.as_ref());
    if !names.map(|name| (&name.user_id, &name.device_id)).eq(wanted) {
        return Some("other devices");
    }
    packages.iter().find_map(|package| {
        let earliest_end = asked_at.after(expected.ttl).before(CLOCK_ERROR);
        if package.last_resort || package.spent {
            Some("a package that is not for one use")
        } else if package.key_package.len() != expected.package_bytes {
            Some("other bytes")
        } else if package
            .hold_expire_time
            .as_ref()
            .is_none_or(|end| Micros::from(end) < earliest_end)
        {
            Some("a hold that is too short")
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use keypool_proto::v1::{KeyPackageName, MissingTarget, Reservation, Target};
    use prost_types::Timestamp;

    const EXPECTED: Expected = Expected { ttl: Duration::from_secs(10), package_bytes: 3 };
    const ASKED_AT: Micros = Micros(1_000_000_000);

    fn request() -> ReserveKeyPackagesRequest {
        let target = |user: &str| Target {
            user_id: user.to_owned(),
            device_id: "phone".to_owned(),
            ..Target::default()
        };
        ReserveKeyPackagesRequest {
            reservation_id: "one".to_owned(),
            targets: vec![target("bob"), target("alice")],
            ..ReserveKeyPackagesRequest::default()
        }
    }

    fn package(user: &str, number: u8) -> ReservedKeyPackage {
        let name = KeyPackageName {
            user_id: user.to_owned(),
            device_id: "phone".to_owned(),
            key_package_ref: vec![number; 32],
        };
        ReservedKeyPackage {
            name: Some(name),
            key_package: vec![number; 3],
            hold_expire_time: Some(Timestamp { seconds: 1010, nanos: 0 }),
            ..ReservedKeyPackage::default()
        }
    }

    /// What a service answers that keeps its promises.
    fn answer() -> ReserveKeyPackagesResponse {
        let reservation = Reservation {
            reservation_id: "one".to_owned(),
            packages: vec![package("alice", 1), package("bob", 2)],
            ..Reservation::default()
        };
        ReserveKeyPackagesResponse { reservation: Some(reservation), missing: Vec::new() }
    }

    /// The answer, spoilt.
    fn spoilt(spoil: impl FnOnce(&mut Reservation)) -> ReserveKeyPackagesResponse {
        let mut answer = answer();
        spoil(answer.reservation.as_mut().unwrap());
        answer
    }

    fn violations(answer: &ReserveKeyPackagesResponse) -> Vec<String> {
        let checker = Checker::default();
        checker.reserved(&request(), ASKED_AT, answer, EXPECTED);
        checker.violations().first()
    }

    #[test]
    fn a_right_answer_is_no_violation() {
        assert_eq!(violations(&answer()), Vec::<String>::new());
    }

    #[test]
    fn wrong_answers_are_violations() {
        let wrong = [
            spoilt(|one| one.reservation_id = "other".to_owned()),
            spoilt(|one| one.packages.truncate(1)),
            spoilt(|one| one.packages[0] = package("carol", 1)),
            spoilt(|one| one.packages.push(package("bob", 3))),
            spoilt(|one| one.packages[0].key_package.clear()),
            spoilt(|one| one.packages[0].last_resort = true),
            spoilt(|one| one.packages[0].hold_expire_time = None),
            spoilt(|one| {
                let early = Timestamp { seconds: 1009, nanos: 400_000_000 };
                one.packages[0].hold_expire_time = Some(early);
            }),
            ReserveKeyPackagesResponse::default(),
        ];
        for answer in wrong {
            assert_eq!(violations(&answer).len(), 1, "{answer:?}");
        }
    }

    #[test]
    fn a_hold_that_is_too_short_by_less_than_a_reading_of_the_clock_is_no_violation() {
        let answer = spoilt(|one| {
            let early = Timestamp { seconds: 1009, nanos: 600_000_000 };
            one.packages[0].hold_expire_time = Some(early);
        });
        assert_eq!(violations(&answer), Vec::<String>::new());
    }

    #[test]
    fn nothing_is_ever_missing() {
        let missing =
            MissingTarget { reason: ErrorReason::PoolExhausted.into(), ..MissingTarget::default() };
        let answer = ReserveKeyPackagesResponse { missing: vec![missing], ..answer() };
        let found = violations(&answer);
        assert!(found[0].starts_with(&Violation::FalselyExhausted.to_string()), "{found:?}");
    }

    #[test]
    fn an_exhausted_pool_is_told_from_other_errors() {
        let checker = Checker::default();
        let details = tonic_types::ErrorDetails::with_error_info(
            ErrorReason::PoolExhausted.as_reason(),
            keypool_proto::ERROR_DOMAIN,
            std::collections::HashMap::<String, String>::new(),
        );
        let code = tonic::Code::FailedPrecondition;
        assert!(checker.refused(&Status::with_error_details(code, "none", details)));
        assert!(!checker.refused(&Status::unavailable("gone")));
        assert_eq!(checker.violations().count(), 1);
    }

    #[test]
    fn a_repeat_returns_the_same_packages_while_they_are_held() {
        let repeats = |again: &ReserveKeyPackagesResponse| {
            let checker = Checker::default();
            checker.repeated(&answer(), again, EXPECTED.ttl);
            checker.violations().count()
        };
        assert_eq!(repeats(&answer()), 0);
        assert_eq!(repeats(&spoilt(|one| one.packages[1] = package("bob", 3))), 1);
        assert_eq!(repeats(&spoilt(|one| one.packages.truncate(1))), 1);
        let lapsed = spoilt(|one| {
            one.packages[1] = package("bob", 3);
            one.packages[1].hold_expire_time = Some(Timestamp { seconds: 1020, nanos: 0 });
        });
        assert_eq!(repeats(&lapsed), 0, "the first hold had ended");
    }
}
