//! A device with OpenMLS.

use std::sync::Arc;

use keypool_client::mls::MemoryPoolStore;
use keypool_client::proto::v1::ReservedKeyPackage;
use openmls::prelude::{tls_codec::*, *};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;

pub(crate) const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// The ref of an encoded package.
pub(crate) fn hash_ref(bytes: &[u8]) -> Option<Vec<u8>> {
    let provider = OpenMlsRustCrypto::default();
    let package = KeyPackageIn::tls_deserialize_exact(bytes).ok()?;
    let package = package.validate(provider.crypto(), ProtocolVersion::Mls10).ok()?;
    Some(package.hash_ref(provider.crypto()).ok()?.as_slice().to_vec())
}

pub(crate) struct Device {
    pub(crate) user_id: String,
    pub(crate) device_id: String,
    pub(crate) provider: OpenMlsRustCrypto,
    pub(crate) signer: SignatureKeyPair,
    pub(crate) credential: CredentialWithKey,
    pub(crate) store: Arc<MemoryPoolStore>,
}

impl Device {
    pub(crate) fn new(user_id: &str, device_id: &str) -> Self {
        let signer = SignatureKeyPair::new(SUITE.signature_algorithm()).unwrap();
        let identity = format!("{user_id}/{device_id}");
        let credential = CredentialWithKey {
            credential: BasicCredential::new(identity.into()).into(),
            signature_key: signer.public().into(),
        };
        let (user_id, device_id) = (user_id.into(), device_id.into());
        let (provider, store) = Default::default();
        Self { user_id, device_id, provider, signer, credential, store }
    }

    pub(crate) fn group(&self) -> MlsGroup {
        self.group_with(Default::default())
    }

    pub(crate) fn group_with(&self, extensions: Extensions<GroupContext>) -> MlsGroup {
        let known = [ExtensionType::Unknown(0xf000)];
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(SUITE)
            .use_ratchet_tree_extension(true)
            .capabilities(Capabilities::new(None, None, Some(&known), None, None))
            .with_group_context_extensions(extensions)
            .build();
        MlsGroup::new(&self.provider, &self.signer, &config, self.credential.clone()).unwrap()
    }

    pub(crate) fn key_package(&self) -> KeyPackage {
        self.build(KeyPackage::builder())
    }

    pub(crate) fn build(&self, builder: KeyPackageBuilder) -> KeyPackage {
        let credential = self.credential.clone();
        let bundle = builder.build(SUITE, &self.provider, &self.signer, credential).unwrap();
        bundle.into_key_package()
    }

    /// The package, handed out as this device's.
    pub(crate) fn hand_out(&self, key_package: &KeyPackage) -> ReservedKeyPackage {
        let hash_ref = key_package.hash_ref(self.provider.crypto()).unwrap();
        let name = super::name(&self.user_id, &self.device_id, hash_ref.as_slice());
        let mut package = super::package(name, key_package.tls_serialize_detached().unwrap());
        package.last_resort = key_package.last_resort();
        package
    }

    /// A fresh package of this device.
    pub(crate) fn fresh(&self) -> ReservedKeyPackage {
        self.hand_out(&self.key_package())
    }

    pub(crate) fn join(&self, welcome: &[u8]) -> MlsGroup {
        let message = MlsMessageIn::tls_deserialize_exact(welcome).unwrap();
        let MlsMessageBodyIn::Welcome(welcome) = message.extract() else { panic!("no Welcome") };
        let config = MlsGroupJoinConfig::default();
        StagedWelcome::new_from_welcome(&self.provider, &config, welcome, None)
            .unwrap()
            .into_group(&self.provider)
            .unwrap()
    }

    /// A commit of this member's own, merged.
    pub(crate) fn update(&self, group: &mut MlsGroup) -> Vec<u8> {
        let parameters = LeafNodeParameters::default();
        let bundle = group.self_update(&self.provider, &self.signer, parameters).unwrap();
        group.merge_pending_commit(&self.provider).unwrap();
        bundle.into_commit().tls_serialize_detached().unwrap()
    }

    /// Takes up another member's commit.
    pub(crate) fn process(&self, group: &mut MlsGroup, commit: &[u8]) {
        let message = MlsMessageIn::tls_deserialize_exact(commit).unwrap();
        let message = message.try_into_protocol_message().unwrap();
        let processed = group.process_message(&self.provider, message).unwrap();
        let ProcessedMessageContent::StagedCommitMessage(commit) = processed.into_content() else {
            panic!("no commit")
        };
        group.merge_staged_commit(&self.provider, *commit).unwrap();
    }
}
