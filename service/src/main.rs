//! The `keypool` command.

use clap::Parser;
use keypool_service::cli::Cli;
use std::{
    error::Error,
    io::{self, ErrorKind},
    process::ExitCode,
};

/// Frees what one thread allocated and another is done with, which calls and lanes do all the time, for less than the
/// system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_read_no_more(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keypool: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether whoever read the output has left, as `head` does once it has enough.
fn is_read_no_more(error: &impl Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == ErrorKind::BrokenPipe)
}
