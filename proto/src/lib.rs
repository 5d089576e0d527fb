//! Protocol buffers of the keypool gRPC API, the code generated from them, and their descriptor set.
//!
//! The `.proto` files in `keypool/v1` are the contract: every service, method, message and field carries its unit and
//! its limits as a comment, which is its documentation here too. Start with
//! [`key_package_service_client`](v1::key_package_service_client), or use the `keypool-client` crate, which adds types,
//! retries and the MLS invite flow.

/// Version 1 of the API. It grows, and never changes what it says today.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    tonic::include_proto!("keypool.v1");
}

/// The encoded `FileDescriptorSet` of the API, imports included, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("keypool.v1");

/// The domain of every `google.rpc.ErrorInfo` that keypool attaches to an error.
pub const ERROR_DOMAIN: &str = "keypool";

impl v1::ErrorReason {
    const PREFIX: &'static str = "ERROR_REASON_";

    /// The name that stands in `google.rpc.ErrorInfo.reason`: `POOL_EXHAUSTED`, for example.
    #[must_use]
    pub fn as_reason(self) -> &'static str {
        self.as_str_name().trim_start_matches(Self::PREFIX)
    }

    /// The reason that a `google.rpc.ErrorInfo.reason` of keypool's domain names; `None` if this version doesn't know it.
    #[must_use]
    pub fn from_reason(reason: &str) -> Option<Self> {
        Self::from_str_name(&format!("{}{reason}", Self::PREFIX))
    }
}

impl v1::RejectionReason {
    /// The name without its prefix: `POOL_FULL`, for example.
    #[must_use]
    pub fn as_reason(self) -> &'static str {
        self.as_str_name().trim_start_matches("REJECTION_REASON_")
    }
}

impl v1::UnusableReason {
    /// The name without its prefix: `WRONG_IDENTITY`, for example.
    #[must_use]
    pub fn as_reason(self) -> &'static str {
        self.as_str_name().trim_start_matches("UNUSABLE_REASON_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_translate_both_ways() {
        let reason = v1::ErrorReason::PoolExhausted;
        assert_eq!(reason.as_reason(), "POOL_EXHAUSTED");
        assert_eq!(v1::ErrorReason::from_reason("POOL_EXHAUSTED"), Some(reason));
        assert_eq!(v1::ErrorReason::from_reason("NOT_ONE_OF_OURS"), None);
    }

    #[test]
    fn reasons_have_no_prefix() {
        assert_eq!(v1::RejectionReason::PoolFull.as_reason(), "POOL_FULL");
        assert_eq!(v1::UnusableReason::WrongIdentity.as_reason(), "WRONG_IDENTITY");
    }

    #[test]
    fn the_descriptor_set_lists_both_services() {
        let set: prost_types::FileDescriptorSet =
            prost::Message::decode(FILE_DESCRIPTOR_SET).expect("a descriptor set");
        let services: Vec<_> =
            set.file.iter().flat_map(|file| &file.service).map(|service| service.name()).collect();
        assert!(services.contains(&"KeyPackageService"), "{services:?}");
        assert!(services.contains(&"AuditService"), "{services:?}");
    }
}
