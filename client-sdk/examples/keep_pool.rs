//! Bob's phone keeps its pool filled in the background, while others use its KeyPackages up.
//!
//! `cargo run --release -p keypool-client --features sqlite --example keep_pool`, beside a running service.

mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use keypool_client::mls::{PackageState, SqlitePoolStore};
use keypool_client::{Client, Error, PoolKeeper};
use support::sqlite::SqliteProvider;
use support::{Device, Result, SUITE, new_user};

async fn tell(client: &Client) -> Result<()> {
    let bob = Device::new(&new_user("bob"), "phone")?;
    // One file for the private keys, the keeper's record, and the application's own tables.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bob.sqlite");
    // The store makes the file, so that only its owner can read it.
    let store = SqlitePoolStore::open(&file, &bob.user_id, &bob.device_id)?;
    let provider = SqliteProvider::open(&file)?;
    let keeper = PoolKeeper::builder(client.clone(), &bob.user_id, &bob.device_id, [SUITE])
        .store(store)
        .build(Box::new(provider), bob.credential, Arc::new(bob.signer));

    let background = keeper.spawn();
    until(async || Ok(available(client, &bob.user_id).await? == 32)).await?;
    println!("1. Bob's phone keeps its pool: 32 KeyPackages are available.");

    for group in 0..25_u8 {
        client.reserve([group]).user(&bob.user_id).send().await?.spend().await?;
    }
    println!("2. 25 groups invite Bob at once.");

    until(async || Ok(available(client, &bob.user_id).await? == 32)).await?;
    println!("3. The phone hears of it, and fills the pool up again.");

    keeper.refresh().await?;
    background.stop().await;
    let status = keeper.status()?;
    println!("4. The settings page says:");
    for (state, count) in &status.packages {
        println!("   {count:>3} {state}");
    }
    println!("   last refresh: {}", if status.last_refresh.is_some() { "done" } else { "never" });
    let spent = status.packages.get(&PackageState::Spent).copied().unwrap_or_default();
    println!("5. {spent} private keys wait for their Welcome.");
    Ok(())
}

async fn available(client: &Client, user_id: &str) -> Result<u64> {
    let pools = match client.pool_status(user_id, "phone").await {
        Ok(status) => status.pools,
        Err(Error::UnknownUser(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(pools.iter().map(|pool| pool.available).sum())
}

async fn until(mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    while !holds().await? {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    support::run(tell).await
}
