//! Bob's phone gets a new credential: new KeyPackages first, then the old ones leave the pool, and an
//! invite under way with an old one still works.
//!
//! `cargo run --release --example rotate_credential`, beside a running service.

mod support;

use std::process::ExitCode;
use std::sync::mpsc;

use keypool_client::mls::Invite;
use keypool_client::{BasicIdentity, Client, Inviter, Target};
use openmls::prelude::CredentialWithKey;
use openmls_basic_credential::SignatureKeyPair;
use support::{Device, Result, SUITE, new_user};

async fn tell(client: &Client) -> Result<()> {
    let (alice, bob) = (Device::new(&new_user("alice"), "laptop")?, new_user("bob"));
    let phone = Device::new(&bob, "phone")?;
    let keeper = phone.keeper(client);
    keeper.refresh().await?;
    println!("1. Bob's phone has filled its pool.");

    let mut under_way = client.reserve(b"another group").user(&bob).send().await?;
    println!("2. Somebody has reserved a KeyPackage, and takes its time.");

    let signer = SignatureKeyPair::new(SUITE.signature_algorithm())?;
    let credential = CredentialWithKey {
        credential: phone.credential.credential.clone(),
        signature_key: signer.public().into(),
    };
    let rotated = keeper.rotate_credential(credential, &signer).await?;
    println!(
        "3. The phone rotates its credential: {} new KeyPackages, {} revoked.",
        rotated.uploaded.len(),
        rotated.revoked.len()
    );

    under_way.spend().await?;
    println!("4. The invite that was under way is finished with an old one.");

    let (send, mailbox) = mpsc::channel();
    let publish = async |invite: Invite| {
        send.send(invite.welcome)?;
        Ok(())
    };
    let mut group = alice.create_group()?;
    let inviter = Inviter::new(client.clone(), BasicIdentity::default());
    let targets = [Target::user(&bob)];
    inviter.invite(&mut group, &alice.provider, &alice.signer, targets, publish).await?;
    let joined = phone.join(&mailbox.recv()?)?;
    let mut members = joined.members();
    let has_new_key = members.any(|member| member.signature_key == signer.public());
    println!("5. Alice invites Bob. He is in the group with his new key: {has_new_key}.");
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run(tell).await
}
