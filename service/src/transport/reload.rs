//! New certificates without a restart.

use super::tls::Files;
use crate::{config::TlsConfig, pem::TlsError, telemetry::catalogue};
use rustls::ServerConfig;
use std::{error::Error, sync::Arc};
use tokio::{sync::watch, time::MissedTickBehavior};

/// Reads the files of TLS again and again, and tells new connections what to use.
///
/// Files that can't be used change nothing: what was in use stays in use. Connections that exist stay as they are.
pub(crate) struct Reloader {
    settings: TlsConfig,
    current: watch::Sender<Arc<ServerConfig>>,
    /// The files that were tried last; none if they could not be read.
    tried: Option<[Option<[u8; 32]>; 3]>,
}

impl Reloader {
    /// Reads the files for the first time.
    pub(crate) async fn start(settings: TlsConfig) -> Result<Self, TlsError> {
        let files = Files::read(&settings).await?;
        let config = files.server_config(settings.client_certificates.unwrap_or_default())?;
        show_expiry(&files);
        catalogue::TLS_FILES_UNREAD.with([]).set(0.0);
        let current = watch::Sender::new(Arc::new(config));
        Ok(Self { settings, current, tried: Some(files.digests()) })
    }

    /// What new connections use.
    pub(crate) fn current(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.current.subscribe()
    }

    /// Keeps it up to date, for ever.
    pub(crate) async fn run(mut self) {
        let mut ticks = tokio::time::interval(self.settings.reload_interval.unsigned_abs());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.reload().await;
        }
    }

    /// Uses the files if they are others than before and can be used.
    async fn reload(&mut self) {
        let reloaded = match Files::read(&self.settings).await {
            Ok(files) if self.tried == Some(files.digests()) => return,
            Ok(files) => {
                self.tried = Some(files.digests());
                self.apply(&files)
            }
            // Said once, not every time.
            Err(_) if self.tried.is_none() => return,
            Err(error) => {
                self.tried = None;
                Err(error)
            }
        };
        catalogue::TLS_FILES_UNREAD.with([]).set(f64::from(u8::from(reloaded.is_err())));
        let result = match reloaded {
            Ok(()) => "ok",
            Err(error) => {
                let cause = error.source().map(ToString::to_string);
                tracing::error!(%error, cause, "the certificate in use stays in use");
                "failed"
            }
        };
        catalogue::TLS_RELOADS.count([result]);
    }

    fn apply(&self, files: &Files) -> Result<(), TlsError> {
        let clients = self.settings.client_certificates.unwrap_or_default();
        let config = files.server_config(clients)?;
        self.current.send_replace(Arc::new(config));
        show_expiry(files);
        tracing::info!("new connections use another certificate, key or client CA");
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss)] // exact for the next hundred million years
fn show_expiry(files: &Files) {
    if let Some(expiry) = files.expiry() {
        catalogue::TLS_CERTIFICATE_EXPIRY.with([]).set(expiry as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::generate_simple_self_signed;
    use std::fs;
    use tempfile::TempDir;

    /// A certificate and its key, in PEM.
    fn pair() -> (String, String) {
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    async fn start(folder: &TempDir) -> (Reloader, TlsConfig) {
        let settings = TlsConfig::new(folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let (certificate, key) = pair();
        fs::write(&settings.certificate, certificate).unwrap();
        fs::write(&settings.key, key).unwrap();
        (Reloader::start(settings.clone()).await.unwrap(), settings)
    }

    #[tokio::test]
    async fn only_files_that_changed_and_can_be_used_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let (mut reloader, settings) = start(&folder).await;
        let mut current = reloader.current();
        let (certificate, key) = pair();

        reloader.reload().await;
        assert!(!current.has_changed().unwrap(), "nothing changed");
        fs::write(&settings.certificate, "-----BEGIN CERTIFICATE-----\nbroken").unwrap();
        reloader.reload().await;
        fs::write(&settings.certificate, &certificate).unwrap();
        reloader.reload().await;
        fs::remove_file(&settings.key).unwrap();
        reloader.reload().await;
        assert!(!current.has_changed().unwrap(), "broken, of another key, or missing");

        fs::write(&settings.key, &key).unwrap();
        reloader.reload().await;
        assert!(current.has_changed().unwrap(), "a pair again");
        current.mark_unchanged();
        reloader.reload().await;
        assert!(!current.has_changed().unwrap(), "it is in use");
    }

    #[tokio::test]
    async fn what_is_broken_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let (mut reloader, settings) = start(&folder).await;
        fs::remove_file(&settings.key).unwrap();
        reloader.reload().await;
        assert!(reloader.tried.is_none());
        let (_, others_key) = pair();
        fs::write(&settings.key, others_key).unwrap();
        reloader.reload().await;
        let tried = reloader.tried;
        assert!(tried.is_some(), "not to be tried again");
        reloader.reload().await;
        assert_eq!(reloader.tried, tried);
    }
}
