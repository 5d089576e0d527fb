//! A chat back end that stands between its users and keypool: it reserves and spends for them, and its
//! users' devices verify, commit and join.
//!
//! `cargo run --release --example backend`, beside a running service.

mod support;

use std::process::ExitCode;

use keypool_client::{Client, Error, SavedReservation, Target};
use openmls::prelude::{tls_codec::*, *};
use support::{Device, Result, new_user};

/// What the back end keeps: a client that may act for any of its users.
struct Backend {
    client: Client,
}

/// What a device gets from its back end.
struct Handout {
    /// To be given back with the commit. The back end may keep it in a table of its own.
    ticket: String,
    key_packages: Vec<Vec<u8>>,
}

impl Backend {
    /// A user wants to invite others. Limits, ownership and audit apply to that user.
    async fn reserve(&self, inviter: &str, group: &[u8], users: &[&str]) -> Result<Handout> {
        let client = self.client.on_behalf_of(inviter);
        let targets = users.iter().map(|user| Target::user(*user));
        let reservation = client.reserve(group).targets(targets).cipher_suite(1).send().await?;
        let key_packages = reservation.packages().iter().map(|one| one.bytes.clone()).collect();
        let ticket = serde_json::to_string(&reservation.save())?;
        reservation.keep();
        Ok(Handout { ticket, key_packages })
    }

    /// The user's device has made its commit: the packages are spent, then the messages go out.
    async fn submit(&self, inviter: &str, ticket: &str) -> Result<bool> {
        let saved: SavedReservation = serde_json::from_str(ticket)?;
        let mut reservation = self.client.on_behalf_of(inviter).resume(saved);
        match reservation.spend().await {
            Ok(()) => Ok(true),
            // Somebody else has the package: the device drops its commit, and asks again.
            Err(Error::ReservationLost(_) | Error::KeyPackageAlreadySpent(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

async fn tell(client: &Client) -> Result<()> {
    let backend = Backend { client: client.clone() };
    let alice = Device::new(&new_user("alice"), "laptop")?;
    let bob = Device::new(&new_user("bob"), "phone")?;
    bob.keeper(client).refresh().await?;
    println!("1. Bob's phone has filled its pool.");

    let mut group = alice.create_group()?;
    let group_id = group.group_id().to_vec();
    let handout = backend.reserve(&alice.user_id, &group_id, &[&bob.user_id]).await?;
    println!("2. The back end reserves {} KeyPackage for Alice.", handout.key_packages.len());

    let crypto = alice.provider.crypto();
    let mut key_packages = Vec::new();
    for bytes in &handout.key_packages {
        let key_package = KeyPackageIn::tls_deserialize_exact(bytes)?;
        key_packages.push(key_package.validate(crypto, ProtocolVersion::Mls10)?);
    }
    let (_, welcome, _) = group.add_members(&alice.provider, &alice.signer, &key_packages)?;
    println!("3. Alice's device verifies it, and commits.");

    if !backend.submit(&alice.user_id, &handout.ticket).await? {
        group.clear_pending_commit(alice.provider.storage())?;
        return Err("the KeyPackage was lost: Alice has to ask again".into());
    }
    group.merge_pending_commit(&alice.provider)?;
    println!("4. The back end spends it, and lets the commit and the Welcome out.");

    let joined = bob.join(&welcome.tls_serialize_detached()?)?;
    println!("5. Bob joins: {} members.", joined.members().count());

    let stranger = client.on_behalf_of("mallory");
    let stolen = stranger.resume(serde_json::from_str(&handout.ticket)?).spend().await;
    let error = stolen.err().ok_or("Mallory has got it")?;
    println!("6. Mallory tries to spend it for herself: {error}.");
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run(tell).await
}
