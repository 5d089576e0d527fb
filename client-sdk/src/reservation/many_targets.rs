//! Reserving for more targets than the service takes in one call.

use std::collections::HashMap;

use keypool_proto::v1::{
    self, ErrorReason, KeyPackageName, ReserveKeyPackagesRequest, ReserveKeyPackagesResponse,
    UnusableReason,
};
use tonic::Code;

use super::{Holds, answer};
use crate::decode::for_reason;
use crate::{Client, Error, Failure, Missing, ReservedPackage, Result, WrongAnswer};

/// The service takes so many targets in one call.
const MAX_TARGETS_PER_CALL: usize = 100;

/// What a reservation has, and what is missing.
#[derive(Default)]
pub(super) struct Reserved {
    pub(super) packages: Vec<ReservedPackage>,
    pub(super) missing: Vec<Missing>,
}

impl Reserved {
    /// The names of its packages.
    fn names(&self) -> Vec<KeyPackageName> {
        self.packages.iter().map(|package| package.name.clone()).collect()
    }
}

/// What a reservation had before it is reserved for, so that a failure gives back no more than what was
/// added.
#[derive(Clone, Copy)]
pub(crate) enum Before<'a> {
    /// Nothing: its id is new.
    Nothing,
    /// These packages.
    Packages(&'a [ReservedPackage]),
    /// Perhaps something that an earlier process reserved. Nothing is given back.
    Unknown,
}

impl Before<'_> {
    fn may_have(self, name: &KeyPackageName) -> bool {
        match self {
            Self::Nothing => false,
            Self::Packages(packages) => packages.iter().any(|package| package.name == *name),
            Self::Unknown => true,
        }
    }
}

/// Reserves for any number of targets, as if the service took them in one call.
pub(super) async fn reserve(
    client: &Client,
    request: &ReserveKeyPackagesRequest,
    before: Before<'_>,
) -> Result<Reserved> {
    match before {
        Before::Packages(_) if request.require_all => {
            // The service would also give back what the reservation had before.
            let some = ReserveKeyPackagesRequest { require_all: false, ..request.clone() };
            let reserved = reserve_chunks(client, &some, before).await?;
            match reserved.missing.first() {
                None => Ok(reserved),
                Some(first) => {
                    let error = nothing_reserved(first, &reserved.missing);
                    give_back_added(client, request, reserved.names(), before).await;
                    Err(error)
                }
            }
        }
        _ => reserve_chunks(client, request, before).await,
    }
}

/// As the service says it where all targets are required.
fn nothing_reserved(first: &Missing, missing: &[Missing]) -> Error {
    let mut failure = Failure::new(code(first.reason), first.message.clone());
    failure.reason = Some(first.reason);
    failure.missing = missing.to_vec();
    failure.retry_after = missing.iter().filter_map(|one| one.retry_after).max();
    for_reason(first.reason)(Box::new(failure))
}

/// The code by which the service says that there is nothing for this reason.
fn code(reason: ErrorReason) -> Code {
    match reason {
        ErrorReason::UnknownUser | ErrorReason::UnknownDevice => Code::NotFound,
        ErrorReason::RateLimited => Code::ResourceExhausted,
        ErrorReason::Contended => Code::Unavailable,
        _ => Code::FailedPrecondition,
    }
}

async fn reserve_chunks(
    client: &Client,
    request: &ReserveKeyPackagesRequest,
    before: Before<'_>,
) -> Result<Reserved> {
    if request.targets.len() <= MAX_TARGETS_PER_CALL {
        return reserve_chunk(client, request, before).await;
    }
    let mut reserved = Reserved::default();
    let mut failure = None;
    for targets in request.targets.chunks(MAX_TARGETS_PER_CALL) {
        let chunk = ReserveKeyPackagesRequest { targets: targets.to_vec(), ..request.clone() };
        match reserve_chunk(client, &chunk, before).await {
            Ok(more) => {
                reserved.packages.extend(more.packages);
                reserved.missing.extend(more.missing);
            }
            // Nothing for these targets: others may have something.
            Err(error) if !error.missing().is_empty() && !request.require_all => {
                reserved.missing.extend(answer::all_missing(&chunk, &error));
                failure.get_or_insert(error);
            }
            Err(error) => {
                give_back_added(client, request, reserved.names(), before).await;
                return Err(error);
            }
        }
    }
    if let Err(wrong) = merge_repeated(&mut reserved.packages) {
        give_back_added(client, request, reserved.names(), before).await;
        return Err(wrong.into());
    }
    match failure {
        Some(error) if reserved.packages.is_empty() => Err(error),
        _ => Ok(reserved),
    }
}

/// Targets of several calls may cover the same device, which has the same package in each answer.
fn merge_repeated(packages: &mut Vec<ReservedPackage>) -> Result<(), WrongAnswer> {
    let mut refs = HashMap::new();
    let mut two_packages = None;
    packages.retain(|ReservedPackage { name, .. }| {
        let device = (name.user_id.clone(), name.device_id.clone());
        match refs.get(&device) {
            Some(known) if *known == name.key_package_ref => false,
            Some(_) => {
                two_packages = Some(answer::two_answers(&name.user_id, &name.device_id));
                true
            }
            None => refs.insert(device, name.key_package_ref.clone()).is_none(),
        }
    });
    two_packages.map_or(Ok(()), Err)
}

/// Gives back what the reservation did not have before. Best effort: what is not given back lapses.
async fn give_back_added(
    client: &Client,
    request: &ReserveKeyPackagesRequest,
    mut names: Vec<KeyPackageName>,
    before: Before<'_>,
) {
    names.retain(|name| !before.may_have(name));
    let holds = Holds::named(request, names);
    if let Err(error) = holds.release(client, UnusableReason::Unspecified).await {
        tracing::debug!(%error, "a part of a reservation was not released; it will lapse");
    }
}

/// Reserves for as many targets as one call takes. What a wrong answer says it reserved is given back.
async fn reserve_chunk(
    client: &Client,
    request: &ReserveKeyPackagesRequest,
    before: Before<'_>,
) -> Result<Reserved> {
    let answer = client.call(request.clone()).await;
    let answer = answer.map_err(|error| answer::checked_failure(request, error))?;
    let packages = answer.reservation.iter().flat_map(|reservation| &reservation.packages);
    let names = packages.filter_map(|package| package.name.clone()).collect();
    match read(request, answer) {
        Ok(reserved) => Ok(reserved),
        Err(error) => {
            give_back_added(client, request, names, before).await;
            Err(error)
        }
    }
}

fn read(
    request: &ReserveKeyPackagesRequest,
    answer: ReserveKeyPackagesResponse,
) -> Result<Reserved> {
    let ReserveKeyPackagesResponse { reservation, missing } = answer;
    let reservation = reservation.ok_or_else(|| Error::protocol("no reservation in its answer"))?;
    check_echo(request, &reservation)?;
    let packages = reservation.packages.into_iter().map(TryInto::try_into);
    let reserved = Reserved {
        packages: packages.collect::<Result<_>>()?,
        missing: missing.into_iter().map(Into::into).collect(),
    };
    answer::check(request, &reserved)?;
    Ok(reserved)
}

fn check_echo(
    request: &ReserveKeyPackagesRequest,
    answer: &v1::Reservation,
) -> Result<(), WrongAnswer> {
    if answer.reservation_id == request.reservation_id && answer.group_id == request.group_id {
        Ok(())
    } else {
        Err(WrongAnswer::AnotherReservation)
    }
}
