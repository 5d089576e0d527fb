//! Alice invites Bob to an MLS group, with a KeyPackage from the pool.
//!
//! Start the service with `cargo run --release`, then run this as often as you like:
//! `cargo run --release --example invite`.

mod support;

use std::process::ExitCode;
use std::sync::{Arc, mpsc};

use keypool_client::mls::{Invite, MemoryPinStore, PinnedDevices};
use keypool_client::{BasicIdentity, Client, Inviter, Target};
use support::{Device, Result, new_user};

async fn tell(client: &Client) -> Result<()> {
    let alice = Device::new(&new_user("alice"), "laptop")?;
    let bob = Device::new(&new_user("bob"), "phone")?;
    println!("1. Alice is {}, Bob is {}.", alice.user_id, bob.user_id);

    let of_alice = alice.keeper(client).refresh().await?.uploaded.len();
    let of_bob = bob.keeper(client).refresh().await?.uploaded.len();
    println!("2. They fill their pools: {of_alice} KeyPackages of Alice, {of_bob} of Bob.");

    let mut alices_group = alice.create_group()?;
    println!("3. Alice creates a group. She is alone in it.");

    // This is all the network there is: Bob's mailbox.
    let (send, mailbox) = mpsc::channel();
    // Remembers Bob's devices and keys, so that the service can't add others later. In memory, as all that
    // Alice has here; else `SqlitePinStore`.
    let verifier =
        PinnedDevices::new(BasicIdentity::default(), Arc::new(MemoryPinStore::default()));
    let inviter =
        Inviter::new(client.clone(), verifier).own_device(&alice.user_id, &alice.device_id);
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
    support::run(tell).await
}
