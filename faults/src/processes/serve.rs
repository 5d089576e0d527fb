//! A replica, as the process that it is: the service with a clock that the parent moves.

use crate::error::Error;
use jiff::SignedDuration;
use keypool_service::{
    clock::{DatabaseClock, ShiftedClock},
    config::Config,
    server::Server,
    testing::process::leash,
};
use std::{
    io::{self, Write},
    sync::Arc,
};
use tokio::signal::unix::{SignalKind, signal};

/// The order to move the clock, followed by microseconds.
pub(super) const MOVE_CLOCK: &str = "clock";

/// Is a replica, configured by the environment, until SIGTERM. Its machine's clock is off by so many microseconds at first.
pub(crate) async fn serve(clock_is_off: i64) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::io("listen to signals"))?;
    // The clock of the machine, which the service compares with the database's.
    let machine = ShiftedClock::default();
    machine.advance(SignedDuration::from_micros(clock_is_off));
    let moved = machine.clone();
    leash(move |order| {
        if let Some(by) = order.strip_prefix(MOVE_CLOCK).and_then(|by| by.trim().parse().ok()) {
            moved.advance(SignedDuration::from_micros(by));
        }
    });
    let no_flags: [(String, String); 0] = [];
    let config = Config::load(None, std::collections::BTreeMap::from(no_flags))?;
    let mut server = Server::start(&config, Arc::new(DatabaseClock::on(machine))).await?;
    let mut out = io::stdout();
    writeln!(out, "replica listening on {}", server.address())
        .and_then(|()| out.flush())
        .map_err(Error::io("write"))?;
    let served = tokio::select! {
        _ = terminate.recv() => Ok(()),
        error = server.failed() => Err(error),
    };
    server.stop().await?;
    Ok(served?)
}
