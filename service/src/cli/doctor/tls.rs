//! The files of TLS.

use super::finding::Findings;
use crate::{
    causes::causes,
    clock::{Clock, SystemClock},
    config::{Config, TlsConfig},
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
