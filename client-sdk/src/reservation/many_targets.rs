//! Reserving for more targets than the service takes in one call.

use keypool_proto::v1::{
    self, ErrorReason, KeyPackageName, ReserveKeyPackagesRequest, ReserveKeyPackagesResponse,
    UnusableReason,
};
use tonic::Code;

use super::Holds;
use crate::decode::for_reason;
use crate::{Client, Error, Failure, Missing, ReservedPackage, Result};

/// The service takes so many targets in one call.
const MAX_TARGETS_PER_CALL: usize = 100;

/// What a reservation has, and what is missing.
#[derive(Default)]
pub(super) struct Reserved {
    pub(super) packages: Vec<ReservedPackage>,
    pub(super) missing: Vec<Missing>,
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
                    give_back_added(client, request, reserved.packages, before).await;
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
        return reserve_chunk(client, request).await;
    }
    let mut reserved = Reserved::default();
    let mut failure = None;
    for targets in request.targets.chunks(MAX_TARGETS_PER_CALL) {
        let chunk = ReserveKeyPackagesRequest { targets: targets.to_vec(), ..request.clone() };
        match reserve_chunk(client, &chunk).await {
            Ok(more) => {
                reserved.packages.extend(more.packages);
                reserved.missing.extend(more.missing);
            }
            // Nothing for these targets: others may have something.
            Err(error) if !error.missing().is_empty() && !request.require_all => {
                reserved.missing.extend_from_slice(error.missing());
                failure.get_or_insert(error);
            }
            Err(error) => {
                give_back_added(client, request, reserved.packages, before).await;
                return Err(error);
            }
        }
    }
    match failure {
        Some(error) if reserved.packages.is_empty() => Err(error),
        _ => Ok(reserved),
    }
}

/// Gives back what the reservation did not have before. Best effort: what is not given back lapses.
async fn give_back_added(
    client: &Client,
    request: &ReserveKeyPackagesRequest,
    mut packages: Vec<ReservedPackage>,
    before: Before<'_>,
) {
    packages.retain(|package| !before.may_have(&package.name));
    let holds = Holds::of(request, &packages);
    if let Err(error) = holds.release(client, UnusableReason::Unspecified).await {
        tracing::debug!(%error, "a part of a reservation was not released; it will lapse");
    }
}

async fn reserve_chunk(client: &Client, request: &ReserveKeyPackagesRequest) -> Result<Reserved> {
    let ReserveKeyPackagesResponse { reservation, missing } = client.call(request.clone()).await?;
    let reservation = reservation.ok_or_else(|| Error::protocol("no reservation in its answer"))?;
    check_echo(request, &reservation)?;
    let packages = reservation.packages.into_iter().map(TryInto::try_into);
    Ok(Reserved {
        packages: packages.collect::<Result<_>>()?,
        missing: missing.into_iter().map(Into::into).collect(),
    })
}

fn check_echo(request: &ReserveKeyPackagesRequest, answer: &v1::Reservation) -> Result<()> {
    if answer.reservation_id == request.reservation_id && answer.group_id == request.group_id {
        Ok(())
    } else {
        Err(Error::protocol("the answer is about another reservation"))
    }
}
