use super::source::{MAX_BYTES, Unreadable};
use crate::{pem::TlsError, roots::Roots};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, crypto::ring};
use std::{error::Error, path::Path, sync::Arc};

/// The setting that names root certificates.
const CA: &str = "auth.tokens.jwks_ca";

/// A document at an `https` address.
#[derive(Debug)]
pub(super) struct HttpsSource {
    client: Client<HttpsConnector<HttpConnector>, Empty<&'static [u8]>>,
    address: Uri,
}

impl HttpsSource {
    /// Trusts the certificates of a PEM file, or the system's. The error says what to change.
    pub(super) fn new(address: Uri, ca: Option<&Path>) -> Result<Self, String> {
        let roots = ca.map_or_else(|| Roots::of_system(CA), |ca| Roots::read(CA, ca));
        let provider = Arc::new(ring::default_provider());
        let verifier = roots
            .and_then(|roots| {
                let verifier = roots.server_verifier(provider.clone());
                verifier.map_err(|source| TlsError::Verifier { setting: CA, source })
            })
            .map_err(|error| with_causes(&error))?;
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("auth.tokens.jwks: TLS can't be used: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        // Minutes pass between two reads: there is no use in a connection that waits.
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, address })
    }

    /// Reads the document. Redirects are not followed: they would lead to where nobody configured.
    pub(super) async fn get(&self) -> Result<Vec<u8>, Unreadable> {
        let network = |error: &dyn Error| Unreadable::Network(with_causes(error));
        let request = Request::get(&self.address)
            .header(header::ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|error| network(&error))?;
        let response = self.client.request(request).await.map_err(|error| network(&error))?;
        if response.status() != StatusCode::OK {
            return Err(Unreadable::Status(response.status()));
        }
        match Limited::new(response.into_body(), MAX_BYTES).collect().await {
            Ok(body) => Ok(body.to_bytes().into()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(Unreadable::TooLong)
            }
            Err(error) => Err(network(&*error)),
        }
    }
}

/// The error with its causes: hyper's own texts leave them out.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
