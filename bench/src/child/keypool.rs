//! keypool itself, as its users run it.

use super::Child;
use crate::error::{Error, Outcome};
use clap::Parser;
use keypool_service::{cli::Cli, testing::process::leash};
use std::env;

/// What the variables begin with that configure the service.
const PREFIX: &str = "KEYPOOL_";

/// The service's configuration where it differs from the default: holds as short as the ones that are asked for here, and
/// devices that upload as fast as they can.
const SETTINGS: [(&str, &str); 3] = [
    ("pool.min_hold", "10ms"),
    ("limits.rates.upload.burst", "1000000"),
    ("limits.rates.upload.every", "1us"),
];

/// Starts a service on a database, with settings named as in its configuration file.
pub(crate) async fn start(
    database_url: &str,
    settings: &[(String, String)],
) -> Result<Child, Error> {
    Child::start("the service", |command| {
        command.arg("serve-keypool");
        // What is measured is what is said here, not what the shell has set.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with(PREFIX) {
                command.env_remove(name);
            }
        }
        command.env("KEYPOOL_LOG", "warn").env("KEYPOOL_DATABASE_URL", database_url);
        for (name, value) in SETTINGS {
            command.env(variable(name), value);
        }
        for (name, value) in settings {
            command.env(variable(name), value);
        }
    })
    .await
}

/// The variable of a setting: `KEYPOOL_POOL__MIN_HOLD` for `pool.min_hold`.
fn variable(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "__").to_uppercase())
}

/// Is the service.
pub(crate) async fn serve() -> Result<Outcome, Error> {
    leash(|_| {});
    let free = "127.0.0.1:0";
    Cli::parse_from(["keypool", "serve", "--listen", free, "--admin-listen", free]).run().await?;
    Ok(Outcome::Kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_variables() {
        assert_eq!(variable("pool.min_hold"), "KEYPOOL_POOL__MIN_HOLD");
        assert_eq!(variable("listen"), "KEYPOOL_LISTEN");
    }
}
