mod accepted;
mod https;
mod jwks_server;
mod key_sets;
mod refreshed;
mod refused;
mod remembered;
mod signer;

use super::TokenVerifier;
use crate::{
    clock::{Clock, ShiftedClock},
    config::{JwksLocation, TokensConfig},
};
use serde_json::{Value, json};
use signer::Signer;
use std::{path::PathBuf, sync::Arc};
use tempfile::TempDir;

/// A verifier whose keys are in a file.
struct Verifier {
    tokens: TokenVerifier,
    clock: ShiftedClock,
    file: PathBuf,
    _directory: TempDir,
}

impl Verifier {
    fn new(signers: &[&Signer]) -> Self {
        Self::with(signers, |_| {})
    }

    fn with(signers: &[&Signer], configure: impl FnOnce(&mut TokensConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, jwks(signers)).unwrap();
        let mut config = config(JwksLocation::File(file.clone()));
        configure(&mut config);
        let clock = ShiftedClock::default();
        let tokens = TokenVerifier::new(
            &config,
            Arc::new(clock.clone()),
            &crate::supervise::Supervisor::default(),
        )
        .unwrap();
        Self { tokens, clock, file, _directory: directory }
    }

    /// Replaces the file, as a deployment does: at once.
    fn replace_file(&self, content: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }
}

fn config(jwks: JwksLocation) -> TokensConfig {
    TokensConfig::new("https://issuer.example", "keypool", jwks)
}

/// A JSON Web Key Set of the signers' public keys.
fn jwks(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }).to_string()
}

/// The claims of a good token of alice's phone.
fn claims() -> Value {
    json!({
        "iss": "https://issuer.example",
        "aud": "keypool",
        "sub": "alice",
        "device_id": "phone",
        "roles": ["device", "inviter"],
        "exp": now() + 3600,
    })
}

/// Good claims, but for some.
fn claims_with(other: Value) -> Value {
    let mut claims = claims();
    for (name, value) in other.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// Good claims without one.
fn claims_without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name).unwrap();
    claims
}

fn now() -> i64 {
    ShiftedClock::default().now().as_second()
}
