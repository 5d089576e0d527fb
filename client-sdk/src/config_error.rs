//! What a client can't be built from.

use crate::error::root_cause;

/// Why a [`Client`](crate::Client) can't be built. Trying again does not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The endpoint is no URI with a host and the scheme `http` or `https`, nor `unix:` with a path.
    #[error("`{endpoint}` is no endpoint such as `http://127.0.0.1:50051`")]
    Endpoint {
        /// The endpoint.
        endpoint: String,
    },

    /// The endpoint is `https`, and the crate was compiled without its feature `tls`.
    #[error("`{endpoint}` needs the feature `tls` of the crate keypool-client")]
    TlsNotCompiled {
        /// The endpoint.
        endpoint: String,
    },

    /// There are TLS settings, and an endpoint that would not be encrypted all the same.
    #[error("there are TLS settings, but `{endpoint}` is not `https`")]
    NotHttps {
        /// The endpoint.
        endpoint: String,
    },

    /// There is a token provider, and an endpoint on another host that is not `https`: whoever reads the
    /// connection would have the tokens.
    #[error(
        "tokens would go to `{endpoint}` in plain text: make it `https`, or allow it by \
         `ClientBuilder::plain_text_tokens` where something else encrypts the connection"
    )]
    PlainTextTokens {
        /// The endpoint.
        endpoint: String,
    },

    /// There is no root certificate to trust: none was given, and the features `tls-native-roots` and
    /// `tls-webpki-roots` are off.
    #[error(
        "no root certificate to trust: give one, or enable the feature `tls-native-roots` or \
         `tls-webpki-roots` of the crate keypool-client"
    )]
    NoRoots,

    /// The certificates, the key or the server's name can't be used.
    #[error("the TLS settings can't be used: {}", root_cause(.0.as_ref()))]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}
