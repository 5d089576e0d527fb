//! What an error of the SDK says about what was done.

use crate::history::{Answer, Outcome};
use keypool_client::{Error, proto::v1::ErrorReason};

/// What a failed call means: refused, with what the service said of it, or unknown.
pub(super) fn failed(error: &Error, answer: impl FnOnce(&Error) -> Answer) -> Outcome {
    let name = name(error);
    match error {
        Error::PoolExhausted(_)
        | Error::NoCompatiblePackage(_)
        | Error::UnknownUser(_)
        | Error::UnknownDevice(_)
        | Error::KeyPackageAlreadySpent(_)
        | Error::KeyPackageExpired(_)
        | Error::KeyPackageRevoked(_)
        | Error::ReservationNotFound(_)
        | Error::ReservationLost(_)
        | Error::ReservationIdReused(_)
        | Error::HoldTooLong(_)
        | Error::RateLimited(_)
        | Error::InvalidArgument(_)
        | Error::Unauthenticated(_)
        | Error::PermissionDenied(_) => Outcome::Failed(name, answer(error)),
        // OVERLOADED, too: it says that the last try did nothing, not those before it.
        _ => Outcome::Unknown(name),
    }
}

/// A reason as histories spell it.
pub(super) fn reason(reason: ErrorReason) -> String {
    reason.as_reason().to_owned()
}

/// An error in a word.
fn name(error: &Error) -> String {
    match error {
        Error::Transport(_) => "TRANSPORT".to_owned(),
        Error::Protocol(what) => format!("PROTOCOL: {what}"),
        Error::WrongAnswer(wrong) => format!("WRONG_ANSWER: {wrong}"),
        other => match (other.reason(), other.failure()) {
            (Some(known), _) => reason(known),
            (None, Some(failure)) => format!("{:?}: {}", failure.code, failure.message),
            (None, None) => other.to_string(),
        },
    }
}
