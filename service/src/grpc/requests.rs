//! Requests as bytes, read as the service reads them: for tests that send what no client would.

use super::{
    access::Access,
    decode::{self, Fields},
    malformed,
};
use crate::{
    auth::{Method, Principal},
    pool::Policy,
};
use keypool_proto::v1;
use prost::Message;
use tonic::Status;

/// Reads a request of a method, of a caller that may do everything: protobuf, then each of its fields.
///
/// # Errors
/// What its caller would be told, if the request is not one.
pub fn read(method: Method, request: &[u8], policy: &Policy) -> Result<(), Status> {
    let access = Access::new(Principal::anonymous(), method);
    match method {
        Method::UploadKeyPackages => decoded(request, decode::upload),
        Method::GetPoolStatus => decoded(request, |fields, it: v1::GetPoolStatusRequest| {
            decode::user_and_optional_device(fields, &it.user_id, &it.device_id)
        }),
        Method::WatchPool => decoded(request, |fields, it: v1::WatchPoolRequest| {
            decode::user_and_device(fields, &it.user_id, &it.device_id)
        }),
        Method::ReconcilePool => decoded(request, |fields, it| decode::reconcile(fields, &it)),
        Method::RevokeKeyPackages => decoded(request, decode::revoke),
        Method::ReserveKeyPackages => {
            decoded(request, |fields, it| decode::reserve(fields, &it, &access, policy))
        }
        Method::SpendReservation => {
            decoded(request, |fields, it| decode::spend(fields, &it, &access))
        }
        Method::ReleaseReservation => {
            decoded(request, |fields, it| decode::release(fields, &it, &access))
        }
        Method::ExtendReservation => {
            decoded(request, |fields, it| decode::extend(fields, &it, &access, policy))
        }
        Method::ListSpendLog => decoded(request, decode::spend_log),
    }
}

fn decoded<M: Message + Default, T>(
    request: &[u8],
    read: impl FnOnce(&mut Fields, M) -> Option<T>,
) -> Result<(), Status> {
    let message = M::decode(request).map_err(|error| malformed::undecodable(&error))?;
    Fields::read(|fields| read(fields, message)).map(drop).map_err(|status| *status)
}
