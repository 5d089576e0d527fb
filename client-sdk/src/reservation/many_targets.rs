//! Reserving for more targets than the service takes in one call.

use keypool_proto::v1::{
    self, ReserveKeyPackagesRequest, ReserveKeyPackagesResponse, UnusableReason,
};

use super::Holds;
use crate::{Client, Error, Missing, ReservedPackage, Result};

/// The service takes so many targets in one call.
const MAX_TARGETS_PER_CALL: usize = 100;

/// The packages of a reservation, and what is missing.
pub(super) type Reserved = (Vec<ReservedPackage>, Vec<Missing>);

/// Reserves for any number of targets, as if the service took them in one call.
pub(super) async fn reserve(
    client: &Client,
    request: &ReserveKeyPackagesRequest,
) -> Result<Reserved> {
    if request.targets.len() <= MAX_TARGETS_PER_CALL {
        return reserve_chunk(client, request).await;
    }
    let (mut packages, mut missing) = (Vec::new(), Vec::new());
    let mut failure = None;
    for targets in request.targets.chunks(MAX_TARGETS_PER_CALL) {
        let chunk = ReserveKeyPackagesRequest { targets: targets.to_vec(), ..request.clone() };
        match reserve_chunk(client, &chunk).await {
            Ok((more, lacking)) => {
                packages.extend(more);
                missing.extend(lacking);
            }
            // Nothing for these targets: others may have something.
            Err(error) if !error.missing().is_empty() && !request.require_all => {
                missing.extend_from_slice(error.missing());
                failure.get_or_insert(error);
            }
            Err(error) => {
                give_back(client, request, &packages).await;
                return Err(error);
            }
        }
    }
    match failure {
        Some(error) if packages.is_empty() => Err(error),
        _ => Ok((packages, missing)),
    }
}

/// Best effort: what is not given back lapses.
async fn give_back(
    client: &Client,
    request: &ReserveKeyPackagesRequest,
    packages: &[ReservedPackage],
) {
    let holds = Holds::of(request, packages);
    if let Err(error) = holds.release(client, UnusableReason::Unspecified).await {
        tracing::debug!(%error, "a part of a reservation was not released; it will lapse");
    }
}

async fn reserve_chunk(client: &Client, request: &ReserveKeyPackagesRequest) -> Result<Reserved> {
    let ReserveKeyPackagesResponse { reservation, missing } = client.call(request.clone()).await?;
    let reservation = reservation.ok_or_else(|| Error::protocol("no reservation in its answer"))?;
    check_echo(request, &reservation)?;
    let packages = reservation.packages.into_iter().map(TryInto::try_into);
    Ok((packages.collect::<Result<_>>()?, missing.into_iter().map(Into::into).collect()))
}

fn check_echo(request: &ReserveKeyPackagesRequest, answer: &v1::Reservation) -> Result<()> {
    if answer.reservation_id == request.reservation_id && answer.group_id == request.group_id {
        Ok(())
    } else {
        Err(Error::protocol("the answer is about another reservation"))
    }
}
