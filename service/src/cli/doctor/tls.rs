//! The files of TLS.

use super::finding::Findings;
use crate::{
    causes::causes,
    clock::{Clock, SystemClock},
    config::{Config, TlsConfig},
    roots::{self, OutOfDate, Roots},
    transport,
};
use jiff::SignedDuration;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// How long before its end a certificate should have been renewed.
const RENEWED: SignedDuration = SignedDuration::from_hours(14 * 24);

/// What everybody on the machine may do with a file: read it.
const READABLE_BY_ALL: u32 = 0o004;

pub(super) async fn examine(config: &Config, findings: &mut Findings) {
    match &config.tls {
        Some(tls) => certificate(tls, findings).await,
        None if config.listen.ip().is_loopback() => findings.ok("tls", "not needed on loopback"),
        None => findings.warning(
            "tls",
            "gRPC is served in plain text",
            "configure [tls], unless something in front encrypts",
        ),
    }
    roots(config, findings);
    for key in [config.tls.as_ref().map(|tls| &tls.key), config.database_tls.key.as_ref()] {
        if let Some(key) = key.filter(|key| is_readable_by_all(key)) {
            findings.warning(
                "tls",
                format!("everybody on this machine may read {}", key.display()),
                "chmod o-r it",
            );
        }
    }
}

/// Files without any valid root are found by those who need them.
fn roots(config: &Config, findings: &mut Findings) {
    let now = SystemClock.now();
    for (setting, file) in roots::files(config).unwrap_or_default() {
        let Ok(roots) = Roots::read(setting, &file) else { continue };
        let fault = match (roots.fault_at(now), roots.fault_at(now + RENEWED)) {
            (Some(fault), _) => fault.to_string(),
            (None, Some(OutOfDate::Expired(end))) => format!("a root certificate ends at {end}"),
            (None, _) => continue,
        };
        findings.warning(
            "tls",
            format!("{setting}: {fault}"),
            format!("renew it in {}: out of its dates it is not trusted", file.display()),
        );
    }
}

async fn certificate(tls: &TlsConfig, findings: &mut Findings) {
    let expiry = match transport::certificate_expiry(tls).await {
        Ok(expiry) => expiry,
        Err(error) => {
            return findings.failed(
                "tls",
                causes(&error),
                "give the files in [tls] in PEM, the key that belongs to the certificate, and rights to read both",
            );
        }
    };
    let Some(expiry) = expiry else {
        return findings.ok("tls", "certificate and key can be used");
    };
    let left = expiry.duration_since(SystemClock.now());
    let says = format!("the certificate ends at {expiry:.0}");
    if left <= SignedDuration::ZERO {
        findings.failed("tls", says, "renew it: callers refuse it");
    } else if left < RENEWED {
        findings.warning("tls", says, "renew it; the service reads it again by itself");
    } else {
        findings.ok("tls", says);
    }
}

fn is_readable_by_all(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| file.permissions().mode() & READABLE_BY_ALL != 0)
}
