//! Whom to trust, and who to be, for a keypool that asks.

use crate::error::Error;
use keypool_client::{ClientBuilder, TlsConfig, Token};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Flags for a keypool with TLS and authentication. The caller needs the role `backend`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Access {
    /// Root certificates (PEM) to trust, for https [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A client certificate (PEM) to show
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// The private key (PEM) of the client certificate
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// A file with a bearer token to send
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Send the token also to other hosts that are not https
    #[arg(long, requires = "token_file")]
    plain_text_tokens: bool,
}

impl Access {
    /// Has a client do so.
    pub(super) fn apply(&self, mut client: ClientBuilder) -> Result<ClientBuilder, Error> {
        let mut tls = None;
        if let Some(ca) = &self.ca {
            tls = Some(TlsConfig::new().root_certificates(read(ca)?));
        }
        if let (Some(certificate), Some(key)) = (&self.client_certificate, &self.client_key) {
            let config = tls.unwrap_or_default();
            tls = Some(config.client_certificate(read(certificate)?, read(key)?));
        }
        if let Some(tls) = tls {
            client = client.tls(tls);
        }
        if let Some(file) = &self.token_file {
            let token = String::from_utf8_lossy(&read(file)?).trim().to_owned();
            let token = Token::new(token).map_err(|_| {
                Error::Usage(format!("{} does not have a token in it", file.display()))
            })?;
            client = client.token_provider(token);
        }
        if self.plain_text_tokens {
            client = client.plain_text_tokens();
        }
        Ok(client)
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(Error::io(format!("read {}", file.display())))
}
