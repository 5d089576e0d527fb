//! An issuer of bearer tokens for tests.

use crate::{
    clock::{Clock, SystemClock},
    config::{AuthConfig, JwksLocation, TokensConfig},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "keypool";

/// Signs bearer tokens (RFC 7519) with a key of its own, which a service reads from a file as long as this lives.
///
/// ```no_run
/// # async fn test() {
/// use keypool_service::testing::{issuer::TestIssuer, server::TestServer};
///
/// let issuer = TestIssuer::new();
/// let server = TestServer::start_with(|config| config.auth = issuer.config()).await;
/// let authorization = format!("Bearer {}", issuer.user("alice", Some("phone"), &["device"]));
/// # }
/// ```
pub struct TestIssuer {
    key: EncodingKey,
    directory: TempDir,
}

impl TestIssuer {
    /// An issuer with a new key.
    ///
    /// # Panics
    /// If it can't write the file: a test has no use for the error.
    #[must_use]
    #[allow(clippy::new_without_default)] // each has another key
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a P-256 key is made");
        let key = EncodingKey::from_ec_der(key.serialized_der());
        let directory = tempfile::tempdir().expect("a temporary directory is made");
        let issuer = Self { key, directory };
        let public = Jwk::from_encoding_key(&issuer.key, Algorithm::ES256).expect("a P-256 key");
        let document = json!({ "keys": [public] }).to_string();
        std::fs::write(issuer.jwks_file(), document).expect("the file is written");
        issuer
    }

    fn jwks_file(&self) -> std::path::PathBuf {
        self.directory.path().join("jwks.json")
    }

    /// What makes a service accept its tokens; everything else by default.
    #[must_use]
    pub fn config(&self) -> AuthConfig {
        let jwks = JwksLocation::File(self.jwks_file());
        AuthConfig {
            tokens: Some(TokensConfig::new(ISSUER, AUDIENCE, jwks)),
            ..AuthConfig::default()
        }
    }

    /// The same as a part of a configuration file.
    #[must_use]
    pub fn toml(&self) -> String {
        let file = self.jwks_file();
        let file = file.display();
        format!(
            "[auth.tokens]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks = \"{file}\""
        )
    }

    /// A token of a user with roles, bound to one device or to none. It is valid for an hour of the machine's clock.
    #[must_use]
    pub fn user(&self, user: &str, device: Option<&str>, roles: &[&str]) -> String {
        let mut claims = Self::claims(user, roles);
        if let Some(device) = device {
            claims["device_id"] = device.into();
        }
        self.token(claims)
    }

    /// A token of a service with roles. It is valid for an hour of the machine's clock.
    #[must_use]
    pub fn service(&self, name: &str, roles: &[&str]) -> String {
        self.token(Self::claims(name, roles))
    }

    /// The claims of a token of somebody with roles, to be changed and signed: valid for an hour of the machine's clock,
    /// without a device.
    #[must_use]
    pub fn claims(subject: &str, roles: &[&str]) -> Value {
        json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "roles": roles,
            "exp": SystemClock.now().as_second() + 60 * 60,
        })
    }

    /// A token with these claims, word for word.
    ///
    /// # Panics
    /// If the key can't sign, which does not happen.
    #[must_use]
    #[allow(clippy::needless_pass_by_value)] // claims are mostly made for the call
    pub fn token(&self, claims: Value) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.key)
            .expect("a P-256 key signs")
    }
}

impl std::fmt::Debug for TestIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestIssuer").finish_non_exhaustive()
    }
}
