//! Requests of every method, changed: they are read, or refused with INVALID_ARGUMENT.

use super::{
    holds,
    mutate::{mutated, mutation},
};
use keypool_proto::{
    ERROR_DOMAIN,
    v1::{ErrorReason, ReconcilePoolRequest, ReserveKeyPackagesRequest, Target},
};
use keypool_service::{
    pool::Policy,
    testing::requests::{Method, read, samples},
};
use proptest::{collection::vec, prelude::*, test_runner::TestCaseResult};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What the HTTP/2 libraries of some languages take as the headers of a response.
const MAX_STATUS_BYTES: usize = 8 * 1024;

#[test]
fn a_good_request_is_read() {
    for method in Method::ALL {
        for request in samples(method) {
            read(method, &request, &Policy::default()).unwrap();
        }
    }
}

#[test]
fn a_changed_request_is_read_or_refused() {
    let samples = Method::ALL.map(|method| (method, samples(method)));
    let changed = (0..samples.len(), any::<prop::sample::Index>(), 0..samples.len());
    holds(&(changed, vec(mutation(), 1..5)), |((of, nth, other), mutations)| {
        let (method, own) = &samples[of];
        let request = mutated(&own[nth.index(own.len())], &mutations, &samples[other].1[0]);
        judge(read(*method, &request, &Policy::default()))
    });
}

#[test]
fn random_bytes_are_read_or_refused() {
    holds(
        &(prop::sample::select(&Method::ALL[..]), vec(any::<u8>(), 0..256)),
        |(method, request)| judge(read(method, &request, &Policy::default())),
    );
}

#[test]
fn a_request_with_many_faults_is_refused_in_few_words() {
    let bad = || "\u{1}".repeat(300);
    let target =
        || Target { user_id: bad(), excluded_device_ids: vec![bad(); 100], ..Target::default() };
    let reserve = ReserveKeyPackagesRequest {
        targets: vec![target(); 100],
        cipher_suites: vec![0; 16],
        ..ReserveKeyPackagesRequest::default()
    };
    let reconcile = ReconcilePoolRequest {
        key_package_refs: vec![Vec::new(); 1000],
        ..ReconcilePoolRequest::default()
    };
    let requests = [
        (Method::ReserveKeyPackages, reserve.encode_to_vec()),
        (Method::ReconcilePool, reconcile.encode_to_vec()),
    ];
    for (method, request) in requests {
        let answer = read(method, &request, &Policy::default());
        assert!(answer.is_err());
        judge(answer).unwrap();
    }
}

/// Whether an answer, if it is a refusal, says why in few words.
fn judge(answer: Result<(), Status>) -> TestCaseResult {
    let Err(status) = answer else { return Ok(()) };
    prop_assert_eq!(status.code(), Code::InvalidArgument, "{:?}", status);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    prop_assert_eq!(&info.domain, ERROR_DOMAIN);
    prop_assert_eq!(ErrorReason::from_reason(&info.reason), Some(ErrorReason::InvalidArgument));
    let violations = &details.bad_request().unwrap().field_violations;
    prop_assert!(!violations.is_empty());
    for violation in violations {
        prop_assert!(!violation.description.is_empty(), "{:?}", violation);
    }
    let headers: usize = header_bytes(status);
    prop_assert!(headers <= MAX_STATUS_BYTES, "{headers} bytes of headers");
    Ok(())
}

fn header_bytes(status: Status) -> usize {
    let response = status.into_http::<()>();
    response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}
