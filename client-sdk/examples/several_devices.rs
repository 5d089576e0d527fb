//! Alice invites Bob and Carol with all their devices, of which one has no KeyPackage left, and adds it
//! once it has.
//!
//! `cargo run --release --example several_devices`, beside a running service.

mod support;

use std::process::ExitCode;
use std::sync::{Arc, mpsc};

use keypool_client::mls::{Invite, MemoryPinStore, PinnedDevices};
use keypool_client::{BasicIdentity, Client, Inviter, Revoke, Target};
use support::{Device, Result, new_user};

async fn tell(client: &Client) -> Result<()> {
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(new_user);
    let alices_laptop = Device::new(&alice, "laptop")?;
    let others = [
        Device::new(&alice, "phone")?,
        Device::new(&bob, "phone")?,
        Device::new(&bob, "tablet")?,
        Device::new(&carol, "phone")?,
    ];
    for device in &others {
        device.keeper(client).refresh().await?;
    }
    println!("1. Four devices of three users have filled their pools.");

    client.revoke(&bob, Some("tablet"), Revoke::All).await?;
    println!("2. Bob's tablet has lost its keys: its pool is empty.");

    let mut group = alices_laptop.create_group()?;
    let (send, mailbox) = mpsc::channel();
    let publish = async |invite: Invite| {
        send.send(invite)?;
        Ok(())
    };
    // Alice's other device is invited too: her user, less the device that invites.
    let verifier =
        PinnedDevices::new(BasicIdentity::default(), Arc::new(MemoryPinStore::default()));
    let inviter = Inviter::new(client.clone(), verifier).own_device(&alice, "laptop");
    let targets = [&alice, &bob, &carol].map(Target::user);
    let (provider, signer) = (&alices_laptop.provider, &alices_laptop.signer);
    let invited = inviter.invite(&mut group, provider, signer, targets, publish).await?;
    println!("3. Alice invites all three. {} devices added.", invited.added.len());
    for missing in &invited.missing {
        let device = missing.device_id.as_deref().unwrap_or("no device");
        println!("   Left out: the {device} of {}: {:?}.", missing.user_id, missing.reason);
    }

    others[2].keeper(client).refresh().await?;
    println!("4. The tablet is online again, and fills its pool.");

    let targets = [Target::device(&bob, "tablet")];
    inviter.invite(&mut group, provider, signer, targets, publish).await?;
    println!("5. Alice invites it. The group has {} members.", group.members().count());

    let second = mailbox.recv().and_then(|_first| mailbox.recv())?;
    let joined = others[2].join(&second.welcome)?;
    println!("6. The tablet joins, and sees {} members.", joined.members().count());
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run(tell).await
}
