//! `keypool doctor`: looks at everything that the service depends on, and says what to do.

mod database;
mod finding;
mod network;
mod tls;

use super::{CliError, print};
use crate::{
    auth,
    causes::causes,
    config::{Config, ConfigError},
};
use finding::{Findings, State};
use std::io::{self, Write};

/// Examines everything, and prints what was found.
///
/// # Errors
/// If anything keeps the service from serving as it should.
pub(super) async fn run(config: &Config, json: bool) -> Result<(), CliError> {
    let mut findings = Findings::default();
    findings.ok("configuration", "is valid");
    tls::examine(config, &mut findings).await;
    issuer(config, &mut findings).await;
    database::examine(config, &mut findings).await;
    network::examine(config, &mut findings).await;
    tell(&findings, json)
}

/// Says that there is nothing to examine anything by.
///
/// # Errors
/// Always: a wrong configuration keeps the service from serving.
pub(super) fn without_configuration(error: &ConfigError, json: bool) -> Result<(), CliError> {
    let mut findings = Findings::default();
    findings.failed("configuration", causes(error), "correct it, then run this again");
    tell(&findings, json)
}

fn tell(findings: &Findings, json: bool) -> Result<(), CliError> {
    if json {
        print(&findings.0, true)?;
    } else {
        show(findings)?;
    }
    let failed = findings.0.iter().filter(|finding| finding.state == State::Failed).count();
    if failed == 0 { Ok(()) } else { Err(CliError::Unwell(failed)) }
}

/// The keys of tokens.
async fn issuer(config: &Config, findings: &mut Findings) {
    let Some(tokens) = &config.auth.tokens else { return };
    match auth::read_keys(tokens).await {
        Ok(0) => findings.failed(
            "tokens",
            "the issuer's key set holds no key that can be used: every token is refused",
            "publish a public key for RS256, ES256 or EdDSA at auth.tokens.jwks",
        ),
        Ok(keys) => findings.ok("tokens", format!("{keys} keys of the issuer can be read")),
        Err(error) => findings.failed(
            "tokens",
            format!("the issuer's keys can't be had: {error}"),
            "check auth.tokens.jwks, auth.tokens.jwks_ca, and that egress to the issuer is allowed",
        ),
    }
}

fn show(findings: &Findings) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for finding in &findings.0 {
        writeln!(out, "{:<8} {:<14} {}", finding.state.name(), finding.about, finding.says)?;
        if let Some(advice) = &finding.advice {
            writeln!(out, "{:<23} → {advice}", "")?;
        }
    }
    Ok(())
}
