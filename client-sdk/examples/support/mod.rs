//! What the examples have in common: a device with OpenMLS, and an ending.
#![allow(dead_code)] // Each example uses its own part.

pub(crate) mod sqlite;

use std::error::Error;
use std::process::ExitCode;

use keypool_client::{BasicIdentity, Client, PoolKeeper};
use openmls::prelude::{tls_codec::*, *};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;

pub(crate) const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// A user with one device.
pub(crate) struct Device {
    pub(crate) user_id: String,
    pub(crate) device_id: String,
    pub(crate) provider: OpenMlsRustCrypto,
    pub(crate) signer: SignatureKeyPair,
    pub(crate) credential: CredentialWithKey,
}

impl Device {
    pub(crate) fn new(user_id: &str, device_id: &str) -> Result<Self> {
        let signer = SignatureKeyPair::new(SUITE.signature_algorithm())?;
        let identity = BasicIdentity::default().identity(user_id, device_id)?;
        let credential = CredentialWithKey {
            credential: BasicCredential::new(identity.into_bytes()).into(),
            signature_key: signer.public().into(),
        };
        let (user_id, device_id) = (user_id.to_owned(), device_id.to_owned());
        Ok(Self { user_id, device_id, provider: Default::default(), signer, credential })
    }

    /// The keeper of the device's pool.
    pub(crate) fn keeper(
        &self,
        client: &Client,
    ) -> PoolKeeper<&OpenMlsRustCrypto, &SignatureKeyPair> {
        PoolKeeper::builder(client.clone(), &self.user_id, &self.device_id, [SUITE]).build(
            &self.provider,
            self.credential.clone(),
            &self.signer,
        )
    }

    pub(crate) fn create_group(&self) -> Result<MlsGroup> {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(SUITE)
            .use_ratchet_tree_extension(true)
            .build();
        Ok(MlsGroup::new(&self.provider, &self.signer, &config, self.credential.clone())?)
    }

    /// Joins a group with the Welcome, as it came from the network.
    pub(crate) fn join(&self, welcome: &[u8]) -> Result<MlsGroup> {
        let message = MlsMessageIn::tls_deserialize_exact(welcome)?;
        let MlsMessageBodyIn::Welcome(welcome) = message.extract() else {
            return Err("not a Welcome".into());
        };
        let config = MlsGroupJoinConfig::default();
        let staged = StagedWelcome::new_from_welcome(&self.provider, &config, welcome, None)?;
        Ok(staged.into_group(&self.provider)?)
    }

    pub(crate) fn encrypt(&self, group: &mut MlsGroup, text: &str) -> Result<Vec<u8>> {
        let message = group.create_message(&self.provider, &self.signer, text.as_bytes())?;
        Ok(message.tls_serialize_detached()?)
    }

    pub(crate) fn decrypt(&self, group: &mut MlsGroup, message: &[u8]) -> Result<String> {
        let message = MlsMessageIn::tls_deserialize_exact(message)?.try_into_protocol_message()?;
        let processed = group.process_message(&self.provider, message)?;
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => {
                Ok(String::from_utf8(message.into_bytes())?)
            }
            _ => Err("not an application message".into()),
        }
    }
}

/// A name that no earlier run has used, so that each run begins with empty pools.
pub(crate) fn new_user(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::now_v7().simple())
}

/// Tells a story to the client at `KEYPOOL_ENDPOINT`, and how it ends.
pub(crate) async fn run(story: impl AsyncFnOnce(&Client) -> Result<()>) -> ExitCode {
    let client = match Client::from_env().await {
        Ok(client) => client,
        Err(error) => {
            eprintln!("{error}");
            eprintln!("Is the service running? Start it with `cargo run --release`, or set");
            eprintln!("KEYPOOL_ENDPOINT to where it is.");
            return ExitCode::FAILURE;
        }
    };
    match story(&client).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The story ends badly: {error}");
            ExitCode::FAILURE
        }
    }
}
