//! Alice invites Bob to an MLS group, with a KeyPackage from the pool.
//!
//! Start the service with `cargo run --release`, then run this as often as you like:
//! `cargo run --release --example invite`.

use std::error::Error;
use std::process::ExitCode;
use std::sync::mpsc;

use keypool_client::mls::Invite;
use keypool_client::{BasicIdentity, Client, Inviter, PoolKeeper, Target};
use openmls::prelude::{tls_codec::*, *};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A user with one device.
struct Device {
    user_id: String,
    device_id: String,
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
    credential: CredentialWithKey,
}

impl Device {
    fn new(user_id: String, device_id: &str) -> Result<Self> {
        let signer = SignatureKeyPair::new(SUITE.signature_algorithm())?;
        let identity = BasicIdentity::default().identity(&user_id, device_id);
        let credential = CredentialWithKey {
            credential: BasicCredential::new(identity.into_bytes()).into(),
            signature_key: signer.public().into(),
        };
        let (device_id, provider) = (device_id.to_owned(), OpenMlsRustCrypto::default());
        Ok(Self { user_id, device_id, provider, signer, credential })
    }

    /// Fills the pool. Returns how many packages were uploaded.
    async fn refresh(&self, client: &Client) -> Result<usize> {
        let keeper = PoolKeeper::builder(client.clone(), &self.user_id, &self.device_id, [SUITE])
            .build(&self.provider, self.credential.clone(), &self.signer);
        Ok(keeper.refresh().await?.uploaded.len())
    }

    fn create_group(&self) -> Result<MlsGroup> {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(SUITE)
            .use_ratchet_tree_extension(true)
            .build();
        Ok(MlsGroup::new(&self.provider, &self.signer, &config, self.credential.clone())?)
    }

    /// Joins a group with the Welcome, as it came from the network.
    fn join(&self, welcome: &[u8]) -> Result<MlsGroup> {
        let message = MlsMessageIn::tls_deserialize_exact(welcome)?;
        let MlsMessageBodyIn::Welcome(welcome) = message.extract() else {
            return Err("not a Welcome".into());
        };
        let config = MlsGroupJoinConfig::default();
        let staged = StagedWelcome::new_from_welcome(&self.provider, &config, welcome, None)?;
        Ok(staged.into_group(&self.provider)?)
    }

    fn encrypt(&self, group: &mut MlsGroup, text: &str) -> Result<Vec<u8>> {
        let message = group.create_message(&self.provider, &self.signer, text.as_bytes())?;
        Ok(message.tls_serialize_detached()?)
    }

    fn decrypt(&self, group: &mut MlsGroup, message: &[u8]) -> Result<String> {
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

async fn tell(client: &Client) -> Result<()> {
    // New names for each run, so that each run begins with empty pools.
    let run = uuid::Uuid::now_v7().simple();
    let alice = Device::new(format!("alice-{run}"), "laptop")?;
    let bob = Device::new(format!("bob-{run}"), "phone")?;
    println!("1. Alice is {}, Bob is {}.", alice.user_id, bob.user_id);

    let (of_alice, of_bob) = (alice.refresh(client).await?, bob.refresh(client).await?);
    println!("2. They fill their pools: {of_alice} KeyPackages of Alice, {of_bob} of Bob.");

    let mut alices_group = alice.create_group()?;
    println!("3. Alice creates a group. She is alone in it.");

    // This is all the network there is: Bob's mailbox.
    let (send, mailbox) = mpsc::channel();
    let inviter = Inviter::new(client.clone(), BasicIdentity::default())
        .own_device(&alice.user_id, &alice.device_id);
    let targets = [Target::user(&bob.user_id)];
    let publish = async |invite: Invite| {
        send.send(invite.welcome)?;
        Ok(())
    };
    let invited =
        inviter.invite(&mut alices_group, &alice.provider, &alice.signer, targets, publish).await?;
    println!(
        "4. Alice invites Bob: reserve, verify, commit, spend, publish, merge. {} device added.",
        invited.added.len()
    );

    let mut bobs_group = bob.join(&mailbox.recv()?)?;
    println!("5. Bob joins from the Welcome. {} members.", bobs_group.members().count());

    let message = alice.encrypt(&mut alices_group, "Hello Bob")?;
    println!("6. Alice sends {} encrypted bytes.", message.len());
    println!("7. Bob reads: {:?}", bob.decrypt(&mut bobs_group, &message)?);

    let status = client.pool_status(&bob.user_id, &bob.device_id).await?;
    for pool in &status.pools {
        println!(
            "8. Bob's pool: {} available, {} spent, health {:?}.",
            pool.available,
            pool.spent,
            pool.health()
        );
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let client = match Client::from_env().await {
        Ok(client) => client,
        Err(error) => {
            eprintln!("{error}");
            eprintln!("Is the service running? Start it with `cargo run --release`, or set");
            eprintln!("KEYPOOL_ENDPOINT to where it is.");
            return ExitCode::FAILURE;
        }
    };
    match tell(&client).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The story ends badly: {error}");
            ExitCode::FAILURE
        }
    }
}
