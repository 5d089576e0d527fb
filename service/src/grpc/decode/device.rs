//! What devices, and back ends for them, ask of their pools.

use super::{Fields, ITEMS};
use crate::{
    pool::Selector,
    types::{DeviceId, KeyPackageRef, UserId},
};
use jiff::Timestamp;
use keypool_proto::v1;

const MAX_REFS: usize = 1000;
const MAX_CREDENTIAL_BYTES: usize = 64 * 1024;

pub(in crate::grpc) fn user_and_device(
    fields: &mut Fields,
    user: &str,
    device: &str,
) -> Option<(UserId, DeviceId)> {
    let user = fields.check("user_id", UserId::new(user));
    let device = fields.check("device_id", DeviceId::new(device));
    Some((user?, device?))
}

pub(in crate::grpc) fn user_and_optional_device(
    fields: &mut Fields,
    user: &str,
    device: &str,
) -> Option<(UserId, Option<DeviceId>)> {
    let user = fields.check("user_id", UserId::new(user));
    let device = fields.optional("device_id", device, DeviceId::new);
    Some((user?, device?))
}

pub(in crate::grpc) fn upload(
    fields: &mut Fields,
    request: v1::UploadKeyPackagesRequest,
) -> Option<(UserId, DeviceId, Vec<Vec<u8>>)> {
    let ids = user_and_device(fields, &request.user_id, &request.device_id);
    // The packages themselves are judged one by one later: a bad one must not fail its neighbours.
    let packages = fields.list("key_packages", &request.key_packages, ITEMS, |_, _, _| Some(()));
    let ((user, device), _) = (ids?, packages?);
    Some((user, device, request.key_packages))
}

pub(in crate::grpc) fn reconcile(
    fields: &mut Fields,
    request: &v1::ReconcilePoolRequest,
) -> Option<(UserId, DeviceId, Vec<KeyPackageRef>, Option<Timestamp>)> {
    let ids = user_and_device(fields, &request.user_id, &request.device_id);
    let refs = refs(fields, "key_package_refs", &request.key_package_refs, 0);
    let as_of = fields.time("as_of", request.as_of);
    let (user, device) = ids?;
    Some((user, device, refs?, as_of?))
}

pub(in crate::grpc) fn revoke(
    fields: &mut Fields,
    request: v1::RevokeKeyPackagesRequest,
) -> Option<(UserId, Option<DeviceId>, Selector)> {
    let ids = user_and_optional_device(fields, &request.user_id, &request.device_id);
    let selector = selector(fields, request.selector);
    let (user, device) = ids?;
    Some((user, device, selector?))
}

fn refs(
    fields: &mut Fields,
    path: &str,
    raw: &[Vec<u8>],
    least: usize,
) -> Option<Vec<KeyPackageRef>> {
    fields.list(path, raw, least..=MAX_REFS, |fields, path, raw| {
        fields.check(path, KeyPackageRef::new(raw))
    })
}

fn selector(
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
