//! Bob's phone gets a new credential: new KeyPackages first, then the old ones leave the pool, and an
//! invite under way with an old one still works. Alice remembers the old key, and is asked first.
//!
//! `cargo run --release --example rotate_credential`, beside a running service.

mod support;

use std::process::ExitCode;
use std::sync::{Arc, mpsc};

use keypool_client::mls::{Invite, MemoryPinStore, PinnedDevices, UntrustedDevices};
use keypool_client::{BasicIdentity, Client, InviteError, Inviter, Target};
use openmls::prelude::CredentialWithKey;
use openmls_basic_credential::SignatureKeyPair;
use support::{Device, Result, SUITE, new_user};

async fn tell(client: &Client) -> Result<()> {
    let (alice, bob) = (Device::new(&new_user("alice"), "laptop")?, new_user("bob"));
    let phone = Device::new(&bob, "phone")?;
    let keeper = phone.keeper(client);
    keeper.refresh().await?;
    println!("1. Bob's phone has filled its pool.");

    let (send, mailbox) = mpsc::channel();
    let publish = async |invite: Invite| {
        send.send(invite.welcome)?;
        Ok(())
    };
    let pinned = PinnedDevices::new(BasicIdentity::default(), Arc::new(MemoryPinStore::default()));
    let inviter = Inviter::new(client.clone(), pinned.clone());
    let targets = || [Target::user(&bob)];
    let (provider, signer) = (&alice.provider, &alice.signer);
    let mut group = alice.create_group()?;
    inviter.invite(&mut group, provider, signer, targets(), publish).await?;
    phone.join(&mailbox.recv()?)?;
    keeper.refresh().await?;
    println!("2. Alice invites Bob, and remembers his phone's key. He fills his pool up again.");

    let mut under_way = client.reserve(b"another group").user(&bob).send().await?;
    println!("3. Somebody has reserved a KeyPackage, and takes its time.");

    let new_signer = SignatureKeyPair::new(SUITE.signature_algorithm())?;
    let credential = CredentialWithKey {
        credential: phone.credential.credential.clone(),
        signature_key: new_signer.public().into(),
    };
    let rotated = keeper.rotate_credential(credential, &new_signer).await?;
    println!(
        "4. The phone rotates its credential: {} new KeyPackages, {} revoked.",
        rotated.uploaded.len(),
        rotated.revoked.len()
    );

    under_way.spend().await?;
    println!("5. The invite that was under way is finished with an old one.");

    let mut group = alice.create_group()?;
    let refused = inviter.invite(&mut group, provider, signer, targets(), publish).await;
    let Err(InviteError::Devices(UntrustedDevices::Changed(changes))) = refused else {
        return Err("the new key was not noticed".into());
    };
    println!("6. Alice invites Bob to another group. Her application asks her:");
    for change in &changes {
        println!("   {change}. Is that right?");
        pinned.accept(change)?;
    }

    inviter.invite(&mut group, provider, signer, targets(), publish).await?;
    let joined = phone.join(&mailbox.recv()?)?;
    let mut members = joined.members();
    let has_new_key = members.any(|member| member.signature_key == new_signer.public());
    println!("7. Bob has told her, so she says yes. He is in with his new key: {has_new_key}.");
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run(tell).await
}
