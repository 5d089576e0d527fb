//! Whether the answer to a reserve fits what was asked.

use std::collections::HashSet;

use keypool_proto::v1::{self, ErrorReason, MissingTarget, ReserveKeyPackagesRequest};

use super::many_targets::Reserved;
use crate::{Error, Failure, Missing, Target, WrongAnswer};

/// Every target has an answer, and nothing else has one.
pub(super) fn check(
    request: &ReserveKeyPackagesRequest,
    reserved: &Reserved,
) -> Result<(), WrongAnswer> {
    let targets = targets(request);
    let Reserved { packages, missing } = reserved;
    let mut devices = HashSet::new();
    for package in packages {
        let (user_id, device_id) = (&package.name.user_id, &package.name.device_id);
        if !targets.iter().any(|target| target.covers(user_id, device_id)) {
            return Err(WrongAnswer::not_asked_for(user_id, Some(device_id)));
        }
        if !devices.insert((user_id.as_str(), device_id.as_str())) {
            return Err(two_answers(user_id, device_id));
        }
        let accepted = &request.cipher_suites;
        if !accepted.is_empty() && !accepted.contains(&package.cipher_suite.into()) {
            let (name, cipher_suite) = (package.name.clone(), package.cipher_suite);
            return Err(WrongAnswer::CipherSuite { name, cipher_suite });
        }
    }
    check_missing(&targets, missing)?;
    for Missing { user_id, device_id, .. } in missing {
        if let Some(device_id) = device_id
            && devices.contains(&(user_id.as_str(), device_id.as_str()))
        {
            return Err(two_answers(user_id, device_id));
        }
    }
    let has_package =
        |target: &Target| devices.iter().any(|(user, device)| target.covers(user, device));
    match targets.into_iter().find(|target| !has_package(target) && is_silent(target, missing)) {
        Some(target) => Err(WrongAnswer::Unanswered(target)),
        None if request.require_all && !missing.is_empty() => {
            Err(WrongAnswer::NotAll(missing.clone()))
        }
        None => Ok(()),
    }
}

/// A failure that lists what is missing must list what was asked for. Names that it leaves out are those
/// of its targets.
pub(super) fn checked_failure(request: &ReserveKeyPackagesRequest, error: Error) -> Error {
    let error = match error.failure().filter(|failure| !failure.missing_targets.is_empty()) {
        None => error,
        Some(failure) => {
            let told = failure.missing_targets.iter();
            let missing = told.map(|one| named(one.clone(), &request.targets).into()).collect();
            Failure { missing, missing_targets: Vec::new(), ..failure.clone() }.into()
        }
    };
    match check_missing(&targets(request), error.missing()) {
        Ok(()) => error,
        Err(wrong) => wrong.into(),
    }
}

/// With the names that its target has, if it has none itself.
fn named(missing: MissingTarget, targets: &[v1::Target]) -> MissingTarget {
    let index = missing.target_index.and_then(|index| usize::try_from(index).ok());
    let target = index.and_then(|index| targets.get(index));
    let Some(target) = target.filter(|_| missing.user_id.is_empty()) else { return missing };
    let is_about_user = missing.reason() == ErrorReason::UnknownUser;
    let device_id = match missing.device_id {
        left_out if left_out.is_empty() && !is_about_user => target.device_id.clone(),
        device_id => device_id,
    };
    MissingTarget { user_id: target.user_id.clone(), device_id, ..missing }
}

/// What is missing after a call that reserved nothing: every target, also those that the failure
/// does not list.
pub(super) fn all_missing(request: &ReserveKeyPackagesRequest, error: &Error) -> Vec<Missing> {
    let listed = error.missing();
    let unlisted = targets(request).into_iter().filter(|target| is_silent(target, listed));
    let unlisted = unlisted.map(|target| Missing {
        user_id: target.user_id().to_owned(),
        device_id: target.device_id().map(str::to_owned),
        reason: error.reason().unwrap_or_default(),
        message: error.failure().map(|failure| failure.message.clone()).unwrap_or_default(),
        retry_after: error.retry_after(),
        limit: None,
    });
    listed.iter().cloned().chain(unlisted).collect()
}

fn check_missing(targets: &[Target], missing: &[Missing]) -> Result<(), WrongAnswer> {
    let stray = missing.iter().find(|one| !targets.iter().any(|target| concerns(one, target)));
    match stray {
        Some(Missing { user_id, device_id, .. }) => {
            Err(WrongAnswer::not_asked_for(user_id, device_id.as_deref()))
        }
        None => Ok(()),
    }
}

/// Whether a target that needs an answer has no reason among these.
fn is_silent(target: &Target, missing: &[Missing]) -> bool {
    !target.excludes_devices() && !missing.iter().any(|one| concerns(one, target))
}

fn concerns(missing: &Missing, target: &Target) -> bool {
    match &missing.device_id {
        Some(device_id) => target.covers(&missing.user_id, device_id),
        None => target.user_id() == missing.user_id,
    }
}

fn targets(request: &ReserveKeyPackagesRequest) -> Vec<Target> {
    request.targets.iter().cloned().map(Target::from).collect()
}

pub(super) fn two_answers(user_id: &str, device_id: &str) -> WrongAnswer {
    let (user_id, device_id) = (user_id.to_owned(), device_id.to_owned());
    WrongAnswer::TwoAnswers { user_id, device_id }
}
