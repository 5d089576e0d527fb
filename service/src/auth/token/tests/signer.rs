use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::KeyPair;
use serde_json::Value;

/// A private key of an issuer's. Those for RSA and Ed25519 are always the same, those for P-256 always others.
pub(super) struct Signer {
    kid: Option<&'static str>,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    pub(super) fn rsa(kid: &'static str) -> Self {
        Self::of_rsa(kid, include_bytes!("testdata/rsa2048.pem"))
    }

    pub(super) fn weak_rsa(kid: &'static str) -> Self {
        Self::of_rsa(kid, include_bytes!("testdata/rsa1024.pem"))
    }

    fn of_rsa(kid: &'static str, pem: &[u8]) -> Self {
        let key = EncodingKey::from_rsa_pem(pem).unwrap();
        Self { kid: Some(kid), algorithm: Algorithm::RS256, key }
    }

    pub(super) fn ec(kid: &'static str) -> Self {
        let key = EncodingKey::from_ec_der(KeyPair::generate().unwrap().serialized_der());
        Self { kid: Some(kid), algorithm: Algorithm::ES256, key }
    }

    pub(super) fn ed(kid: &'static str) -> Self {
        let key = EncodingKey::from_ed_pem(include_bytes!("testdata/ed25519.pem")).unwrap();
        Self { kid: Some(kid), algorithm: Algorithm::EdDSA, key }
    }

    /// The same key without a name.
    pub(super) fn nameless(self) -> Self {
        Self { kid: None, ..self }
    }

    /// The public key.
    pub(super) fn jwk(&self) -> Value {
        let public = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        let mut public = serde_json::to_value(public).unwrap();
        if let Some(kid) = self.kid {
            public["kid"] = kid.into();
        }
        public
    }

    /// The header that its tokens have.
    pub(super) fn header(&self) -> Header {
        Header { kid: self.kid.map(str::to_owned), ..Header::new(self.algorithm) }
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }

    /// A token with another header.
    pub(super) fn sign_with(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.key).unwrap()
    }
}
