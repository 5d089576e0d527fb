//! Requests that aren't the message they should be: bytes that aren't protobuf, text that isn't UTF-8, too many bytes.
//!
//! tonic answers them with INTERNAL, as if the service had failed, or OUT_OF_RANGE. The caller did, so it gets
//! INVALID_ARGUMENT with the field's path, like for any other bad request.

use super::error::{code_of, invalid_argument};
use http::Response;
use tonic::{Code, Status, body::Body};

/// How prost begins the description of a message that it can't decode.
const UNDECODABLE: &str = "failed to decode Protobuf message: ";

/// How tonic begins the description of a message that has more bytes than allowed.
const TOO_LARGE: &str = "Error, decoded message length too large: ";

/// The response, or INVALID_ARGUMENT in place of one that says that the request could not be decoded.
pub(super) fn translate(response: Response<Body>) -> Response<Body> {
    if !matches!(code_of(&response), Code::Internal | Code::OutOfRange) {
        return response;
    }
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    let problem = match status.code() {
        Code::Internal => status.message().split_once(UNDECODABLE),
        Code::OutOfRange => status.message().split_once(TOO_LARGE),
        _ => None,
    };
    match problem {
        Some((_, problem)) => invalid_argument(vec![violation(problem)]).into_http(),
        None => response,
    }
}

/// What the caller of a request that can't be decoded is told.
#[cfg(feature = "testing")]
pub(super) fn undecodable(error: &prost::DecodeError) -> Status {
    let status = Status::internal(error.to_string()).into_http();
    let translated = translate(status);
    Status::from_header_map(translated.headers()).unwrap_or_else(|| Status::ok(""))
}

/// The path and the problem. prost writes where it was with the messages' Rust names, the innermost first:
/// `Target.user_id: ReserveKeyPackagesRequest.targets: invalid string value: …`.
fn violation(problem: &str) -> (String, String) {
    let mut path = Vec::new();
    let mut what = problem;
    while let Some((step, rest)) = what.split_once(": ") {
        let Some(field) = field(step) else { break };
        path.insert(0, field);
        what = rest;
    }
    (path.join("."), format!("can't be decoded: {what}"))
}

/// The field in `Message.field`.
fn field(step: &str) -> Option<&str> {
    let (message, field) = step.split_once('.')?;
    message.starts_with(char::is_uppercase).then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_leads_from_the_outside_to_the_inside() {
        let path = |problem| violation(problem).0;
        assert_eq!(path("UploadKeyPackagesRequest.user_id: invalid string value: …"), "user_id");
        assert_eq!(path("Target.user_id: ReserveKeyPackagesRequest.targets: …"), "targets.user_id");
        assert_eq!(path("invalid wire type value: 7"), "");
    }

    #[test]
    fn the_problem_is_told_without_the_path() {
        let (_, problem) = violation("Target.user_id: ReserveKeyPackagesRequest.targets: odd: 7");
        assert_eq!(problem, "can't be decoded: odd: 7");
    }
}
