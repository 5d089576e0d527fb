//! A method of the API by the first byte, and the rest as a request of it.

#![no_main]

use keypool_service::{
    pool::Policy,
    testing::requests::{Method, read},
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static POLICY: LazyLock<Policy> = LazyLock::new(Policy::default);

/// What the HTTP/2 libraries of some languages take as the headers of a response.
const MAX_STATUS_BYTES: usize = 8 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let Some((method, request)) = bytes.split_first() else { return };
    let method = Method::ALL[usize::from(*method) % Method::ALL.len()];
    let Err(status) = read(method, request, &POLICY) else { return };
    let headers = status.into_http::<()>().headers().clone();
    assert_eq!(headers.get("grpc-status").map(|code| code.as_bytes()), Some(&b"3"[..]));
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    assert!(bytes <= MAX_STATUS_BYTES, "{bytes} bytes of headers");
});
