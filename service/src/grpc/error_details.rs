//! Details of errors, cut so that a status fits into trailers.
//!
//! Details are a third longer there, and grpc-java accepts no more than 8 KiB of trailers. Ids have up to 255 bytes each.

use super::encode;
use crate::pool::MissingTarget;
use keypool_proto::v1::{self, ReserveErrorDetails};
use prost::{Message, Name};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, PreconditionViolation, StatusExt, pb};

/// How many violations google.rpc.PreconditionFailure lists, for those who know no message of ours.
const MAX_VIOLATIONS: usize = 8;

/// How many bytes of them there may be.
const VIOLATION_BYTES: usize = 512;

/// How many devices [`ReserveErrorDetails`] lists: as many as a call has targets.
const MAX_MISSING: usize = 100;

/// How many bytes of them there may be. A hundred that are told by their targets fit.
const MISSING_BYTES: usize = 4 * 1024;

/// A few of the violations: as many as fit.
pub(super) fn few(
    violations: impl Iterator<Item = PreconditionViolation>,
) -> Vec<PreconditionViolation> {
    fitting(violations.take(MAX_VIOLATIONS), VIOLATION_BYTES, |one| {
        one.r#type.len() + one.subject.len() + one.description.len()
    })
}

/// What is missing of a call for these targets. If it does not fit with names and messages, without what the targets tell.
pub(super) fn reserve_details(
    missing: &[MissingTarget],
    targets: &[v1::Target],
) -> ReserveErrorDetails {
    let told = || {
        missing.iter().take(MAX_MISSING).map(|one| {
            let one = encode::missing(one);
            v1::MissingTarget { target_index: position(targets, &one), ..one }
        })
    };
    let mut listed = fitting(told(), MISSING_BYTES, Message::encoded_len);
    if listed.len() < told().len() {
        let terse = told().map(|one| terse(one, targets));
        listed = fitting(terse, MISSING_BYTES, Message::encoded_len);
    }
    let omitted_count = u32::try_from(missing.len() - listed.len()).unwrap_or(u32::MAX);
    ReserveErrorDetails { missing: listed, omitted_count }
}

/// Which target something missing is about: the one that names the device, or else the user.
fn position(targets: &[v1::Target], missing: &v1::MissingTarget) -> Option<u32> {
    let of_user = |target: &v1::Target| target.user_id == missing.user_id;
    let of_device = |target: &v1::Target| target.device_id == missing.device_id;
    let named = targets.iter().position(|target| of_user(target) && of_device(target));
    let all = || targets.iter().position(|target| of_user(target) && target.device_id.is_empty());
    let any = || targets.iter().position(of_user);
    named.or_else(all).or_else(any).and_then(|index| u32::try_from(index).ok())
}

/// Without words, and without the names that the target has.
fn terse(missing: v1::MissingTarget, targets: &[v1::Target]) -> v1::MissingTarget {
    let index = missing.target_index.and_then(|index| usize::try_from(index).ok());
    let Some(target) = index.and_then(|index| targets.get(index)) else { return missing };
    let device_id = match missing.device_id {
        named if named == target.device_id => String::new(),
        other => other,
    };
    v1::MissingTarget { user_id: String::new(), device_id, message: String::new(), ..missing }
}

/// The first items, as many as fit.
fn fitting<T>(
    items: impl Iterator<Item = T>,
    most_bytes: usize,
    bytes: impl Fn(&T) -> usize,
) -> Vec<T> {
    /// What an element of a repeated field takes besides itself.
    const FRAME: usize = 3;
    let mut left = most_bytes;
    let mut fits = |item: &T| {
        let rest = left.checked_sub(bytes(item) + FRAME);
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    items.take_while(|item| fits(item)).collect()
}

/// A status with google.rpc's details and a message of ours.
pub(super) fn with_details<M: Message + Name>(
    code: Code,
    message: &str,
    details: ErrorDetails,
    own: &M,
) -> Status {
    let standard = Status::with_error_details(code, message, details);
    let Ok(mut all) = pb::Status::decode(standard.details()) else {
        return standard;
    };
    all.details.push(prost_types::Any { type_url: type_url::<M>(), value: own.encode_to_vec() });
    Status::with_details(code, message, all.encode_to_vec().into())
}

fn type_url<M: Name>() -> String {
    format!("type.googleapis.com/{}", M::full_name())
}
