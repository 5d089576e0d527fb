use super::https::HttpsSource;
use crate::config::{ConfigError, JwksLocation, TokensConfig};
use http::StatusCode;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{fs::File, io::AsyncReadExt};

/// How long a read may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes that are read.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// Why the keys' document can't be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// The file can't be read.
    #[error("can't read the file: {0}")]
    File(#[from] io::Error),
    /// There was no answer: by the network, TLS or HTTP.
    #[error("can't read from the address: {0}")]
    Network(String),
    /// The answer was not 200.
    #[error("the address answers with {0}")]
    Status(StatusCode),
    /// Too much to read.
    #[error("more than {MAX_BYTES} bytes")]
    TooLong,
    /// Took too long.
    #[error("nothing within {TIMEOUT:?}")]
    Timeout,
}

/// Where the keys' document is read from.
#[derive(Debug)]
pub(super) enum Source {
    File(PathBuf),
    Https(Box<HttpsSource>),
}

impl Source {
    /// The place that is configured.
    ///
    /// # Errors
    /// If the certificates to trust can't be had.
    pub(super) fn new(config: &TokensConfig) -> Result<Self, ConfigError> {
        match &config.jwks {
            JwksLocation::File(path) => Ok(Self::File(path.clone())),
            JwksLocation::Https(address) => {
                let source = HttpsSource::new(address.clone(), config.jwks_ca.as_deref());
                let source = source.map_err(|error| ConfigError::Invalid(vec![error]))?;
                Ok(Self::Https(Box::new(source)))
            }
        }
    }

    /// Reads the document, within limits of time and size.
    pub(super) async fn read(&self) -> Result<Vec<u8>, Unreadable> {
        let read = async {
            match self {
                Self::File(path) => read_file(path).await,
                Self::Https(source) => source.get().await,
            }
        };
        tokio::time::timeout(TIMEOUT, read).await.unwrap_or(Err(Unreadable::Timeout))
    }
}

async fn read_file(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let mut document = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    File::open(path).await?.take(limit).read_to_end(&mut document).await?;
    if document.len() > MAX_BYTES { Err(Unreadable::TooLong) } else { Ok(document) }
}
