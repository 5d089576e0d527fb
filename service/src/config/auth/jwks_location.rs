use http::Uri;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the keys of a token's issuer are: never to be had without TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum JwksLocation {
    /// An `https` address.
    Https(Uri),
    /// A file.
    File(PathBuf),
}

impl TryFrom<String> for JwksLocation {
    type Error = &'static str;

    fn try_from(location: String) -> Result<Self, Self::Error> {
        if location.is_empty() {
            return Err("jwks must not be empty: set an https address, or the path of a file");
        }
        if !location.contains("://") {
            return Ok(Self::File(location.into()));
        }
        let uri: Uri = location.parse().map_err(|_not_an_address| "jwks: not a valid address")?;
        if uri.scheme_str() != Some("https") {
            return Err("jwks must be an https address, or the path of a file");
        }
        match uri.authority() {
            Some(host) if !host.as_str().contains('@') => Ok(Self::Https(uri)),
            _ => Err("jwks must be an https address without user name and password"),
        }
    }
}

impl From<JwksLocation> for String {
    fn from(location: JwksLocation) -> Self {
        match location {
            JwksLocation::Https(uri) => uri.to_string(),
            JwksLocation::File(path) => path.to_string_lossy().into_owned(),
        }
    }
}
