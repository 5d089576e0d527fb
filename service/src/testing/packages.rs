//! Real KeyPackages for tests.

use crate::types::CipherSuite;
use jiff::Timestamp;
use openmls::prelude::{
    BasicCredential, Capabilities, Ciphersuite, CredentialWithKey, Extension, ExtensionType,
    Extensions, KeyPackage, Lifetime, UnknownExtension,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use tls_codec::Serialize;

/// Makes KeyPackages of one device (RFC 9420, section 10), all signed with the same key.
///
/// Unless told otherwise they have cipher suite 1, live from an hour ago to 14 days ahead, and are
/// for one use. Nothing keeps their private keys.
///
/// ```
/// use keypool_service::testing::packages::PackageMaker;
///
/// let maker = PackageMaker::new("alice", "phone");
/// assert_ne!(maker.make(), maker.make());
/// ```
#[derive(Debug)]
pub struct PackageMaker {
    identity: Vec<u8>,
    signer: SignatureKeyPair,
    cipher_suite: Ciphersuite,
    lifetime: Lifetime,
    last_resort: bool,
    application_data: Option<Vec<u8>>,
}

/// The type of the extension with application data: one for private use (RFC 9420, section 17.3).
const APPLICATION_DATA: u16 = 0xF001;

impl PackageMaker {
    /// For a device of a user, spelled `user/device` in its credential (RFC 9420, section 5.3).
    #[must_use]
    pub fn new(user: &str, device: &str) -> Self {
        Self::for_identity(format!("{user}/{device}"))
    }

    /// For a basic credential with any identity (RFC 9420, section 5.3).
    #[must_use]
    pub fn for_identity(identity: impl Into<Vec<u8>>) -> Self {
        let cipher_suite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;
        Self {
            identity: identity.into(),
            signer: new_signer(cipher_suite),
            cipher_suite,
            lifetime: Lifetime::new(14 * 24 * 60 * 60),
            last_resort: false,
            application_data: None,
        }
    }

    /// With another cipher suite (RFC 9420, section 5.1), and so with another signature key.
    ///
    /// # Panics
    /// If OpenMLS can't sign for it.
    #[must_use]
    pub fn cipher_suite(mut self, suite: CipherSuite) -> Self {
        self.cipher_suite = Ciphersuite::try_from(suite.0).expect("a cipher suite of MLS");
        self.signer = new_signer(self.cipher_suite);
        self
    }

    /// With another lifetime (RFC 9420, section 7.2).
    ///
    /// # Panics
    /// If one of its ends lies before 1970.
    #[must_use]
    pub fn lifetime(mut self, not_before: Timestamp, not_after: Timestamp) -> Self {
        self.lifetime = between(not_before, not_after);
        self
    }

    /// With the last_resort extension (RFC 9420, section 16.8), also listed in the capabilities.
    #[must_use]
    pub fn last_resort(mut self) -> Self {
        self.last_resort = true;
        self
    }

    /// With an extension of an application's own, also listed in the capabilities.
    #[must_use]
    pub fn application_data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.application_data = Some(data.into());
        self
    }

    /// A new KeyPackage, TLS-encoded.
    ///
    /// # Panics
    /// If OpenMLS can't make it.
    #[must_use]
    pub fn make(&self) -> Vec<u8> {
        self.make_with(self.lifetime)
    }

    /// A new KeyPackage with a lifetime of its own, TLS-encoded.
    ///
    /// # Panics
    /// If OpenMLS can't make it, or one of the lifetime's ends lies before 1970.
    #[must_use]
    pub fn make_living(&self, not_before: Timestamp, not_after: Timestamp) -> Vec<u8> {
        self.make_with(between(not_before, not_after))
    }

    fn make_with(&self, lifetime: Lifetime) -> Vec<u8> {
        let provider = OpenMlsRustCrypto::default();
        let mut builder = KeyPackage::builder()
            .key_package_lifetime(lifetime)
            .leaf_node_capabilities(self.capabilities());
        if let Some(data) = &self.application_data {
            let extension = Extension::Unknown(APPLICATION_DATA, UnknownExtension(data.clone()));
            let extensions =
                Extensions::single(extension).expect("an extension that any package may have");
            builder = builder.key_package_extensions(extensions);
        }
        if self.last_resort {
            builder = builder.mark_as_last_resort();
        }
        builder
            .build(self.cipher_suite, &provider, &self.signer, self.credential())
            .expect("OpenMLS makes a KeyPackage of a suite that it can sign for")
            .key_package()
            .tls_serialize_detached()
            .expect("a KeyPackage that was made can be encoded")
    }

    /// As many new KeyPackages.
    #[must_use]
    pub fn make_many(&self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.make()).collect()
    }

    /// The key that signs the packages.
    #[must_use]
    pub fn signer(&self) -> &SignatureKeyPair {
        &self.signer
    }

    fn capabilities(&self) -> Capabilities {
        let application_data = self.application_data.as_ref();
        let extensions: Vec<_> = [
            self.last_resort.then_some(ExtensionType::LastResort),
            application_data.map(|_| ExtensionType::Unknown(APPLICATION_DATA)),
        ]
        .into_iter()
        .flatten()
        .collect();
        Capabilities::new(None, Some(&[self.cipher_suite]), Some(&extensions), None, None)
    }

    fn credential(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(self.identity.clone()).into(),
            signature_key: self.signer.public().into(),
        }
    }
}

fn between(not_before: Timestamp, not_after: Timestamp) -> Lifetime {
    let seconds = |time: Timestamp| u64::try_from(time.as_second()).expect("a time after 1970");
    Lifetime::init(seconds(not_before), seconds(not_after))
}

fn new_signer(suite: Ciphersuite) -> SignatureKeyPair {
    SignatureKeyPair::new(suite.signature_algorithm()).expect("a suite that OpenMLS can sign for")
}
