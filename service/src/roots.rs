//! Root certificates that are trusted only between their own dates.
//!
//! rustls keeps of a root its name and key (RFC 5280, section 6.1.1, leaves its dates out of validation), and would trust it for
//! ever.

use crate::{
    clock::{Clock, SystemClock},
    config::{ClientCertificates, Config, ConfigError},
    pem::{PemFile, TlsError},
};
use jiff::Timestamp;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
};
use x509_parser::parse_x509_certificate;

/// Root certificates, at least one of which was valid when they were read.
#[derive(Debug, Clone)]
pub(crate) struct Roots(Vec<Root>);

#[derive(Debug, Clone)]
struct Root {
    certificate: CertificateDer<'static>,
    /// From when until when it may be trusted, in seconds since 1970.
    dates: RangeInclusive<i64>,
}

/// Why a root is not trusted.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub enum OutOfDate {
    /// It will be trusted later.
    #[error("a root certificate is not valid before {0}")]
    NotBefore(Timestamp),
    /// It was trusted until then.
    #[error("a root certificate expired at {0}")]
    Expired(Timestamp),
}

/// No root is valid at the time of a handshake.
#[derive(Debug, thiserror::Error)]
#[error("no root certificate is valid at this time: renew them")]
struct NoneValid;

/// The files with roots that a configuration names, each with its setting.
pub(crate) fn files(config: &Config) -> Result<Vec<(&'static str, PathBuf)>, ConfigError> {
    let client_ca = config.tls.as_ref().and_then(|tls| tls.client_ca.clone());
    let jwks_ca = config.auth.tokens.as_ref().and_then(|tokens| tokens.jwks_ca.clone());
    let files = [
        ("tls.client_ca", client_ca),
        ("database_tls.ca", config.database_tls()?.ca),
        ("auth.tokens.jwks_ca", jwks_ca),
    ];
    Ok(files.into_iter().filter_map(|(setting, file)| Some((setting, file?))).collect())
}

impl Roots {
    /// Those in the file that a setting names.
    pub(crate) fn read(setting: &'static str, path: &Path) -> Result<Self, TlsError> {
        Self::of(&PemFile::read(setting, path)?)
    }

    /// Those in a file.
    pub(crate) fn of(file: &PemFile) -> Result<Self, TlsError> {
        let root = |certificate| Root::new(certificate).map_err(|source| file.unusable(source));
        let roots = file.certificates()?.into_iter().map(root).collect::<Result<_, _>>()?;
        let roots = Self(roots);
        let now = SystemClock.now();
        match roots.fault_at(now) {
            Some(fault) if roots.valid_at(now.as_second()).is_empty() => {
                Err(file.out_of_date(fault))
            }
            _ => Ok(roots),
        }
    }

    /// Those of the system. Those that can't be used are left out.
    pub(crate) fn of_system(setting: &'static str) -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some root certificates of the system can't be read");
        }
        let roots = Self(found.certs.into_iter().filter_map(|one| Root::new(one).ok()).collect());
        if roots.valid_at(SystemClock.now().as_second()).is_empty() {
            return Err(TlsError::NoSystemRoots { setting });
        }
        Ok(roots)
    }

    /// Why one of them is not trusted at a time.
    pub(crate) fn fault_at(&self, now: Timestamp) -> Option<OutOfDate> {
        let time = |second: i64| Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        self.0.iter().find_map(|root| {
            let (begins, ends) = (time(*root.dates.start()), time(*root.dates.end()));
            (now < begins)
                .then_some(OutOfDate::NotBefore(begins))
                .or_else(|| (now > ends).then_some(OutOfDate::Expired(ends)))
        })
    }

    fn valid_at(&self, second: i64) -> RootCertStore {
        let mut store = RootCertStore::empty();
        let valid = self.0.iter().filter(|root| root.dates.contains(&second));
        store.add_parsable_certificates(valid.map(|root| root.certificate.clone()));
        store
    }

    fn valid_during_handshake(&self, now: UnixTime) -> Result<Arc<RootCertStore>, Error> {
        let store = self.valid_at(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        if store.is_empty() {
            let error = OtherError(Arc::new(NoneValid));
            return Err(CertificateError::Other(error).into());
        }
        Ok(Arc::new(store))
    }

    /// Verifies clients' certificates.
    pub(crate) fn client_verifier(
        self,
        clients: ClientCertificates,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
        let all = Arc::new(self.all());
        let usual = WebPkiClientVerifier::builder_with_provider(all, provider.clone());
        let usual = match clients {
            ClientCertificates::Optional => usual.allow_unauthenticated(),
            ClientCertificates::Required => usual,
        };
        Ok(Arc::new(DatedClientVerifier { usual: usual.build()?, roots: self, provider }))
    }

    /// Verifies servers' certificates.
    pub(crate) fn server_verifier(
        self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, VerifierBuilderError> {
        let all = Arc::new(self.all());
        let usual = WebPkiServerVerifier::builder_with_provider(all, provider.clone()).build()?;
        Ok(Arc::new(DatedServerVerifier { usual, roots: self, provider }))
    }

    fn all(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.0.iter().map(|root| root.certificate.clone()));
        store
    }
}

impl Root {
    fn new(certificate: CertificateDer<'static>) -> Result<Self, Error> {
        RootCertStore::empty().add(certificate.clone())?;
        let (_, parsed) = parse_x509_certificate(&certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let validity = parsed.validity();
        let dates = validity.not_before.timestamp()..=validity.not_after.timestamp();
        Ok(Self { certificate, dates })
    }
}

/// rustls' verifier, with the roots that are valid at each handshake.
#[derive(Debug)]
struct DatedClientVerifier {
    /// With all roots, for what does not depend on their dates.
    usual: Arc<dyn ClientCertVerifier>,
    roots: Roots,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for DatedClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.usual.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.usual.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.usual.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let roots = self.roots.valid_during_handshake(now)?;
        WebPkiClientVerifier::builder_with_provider(roots, self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// rustls' verifier, with the roots that are valid at each handshake.
#[derive(Debug)]
struct DatedServerVerifier {
    /// With all roots, for what does not depend on their dates.
    usual: Arc<WebPkiServerVerifier>,
    roots: Roots,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for DatedServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let roots = self.roots.valid_during_handshake(now)?;
        WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
    };
    use rustls::crypto::ring;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    /// A root that is valid from the beginning of one year to that of another.
    fn authority(years: (i32, i32)) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(authority: &Authority) -> CertificateDer<'static> {
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.signed_by(&KeyPair::generate().unwrap(), authority).unwrap().der().clone()
    }

    fn read(authorities: &[&Authority]) -> Result<Roots, TlsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let pem: Vec<_> = authorities.iter().map(|authority| authority.pem()).collect();
        std::fs::write(&path, pem.concat()).unwrap();
        Roots::read("tls.client_ca", &path)
    }

    fn year(year: i32) -> UnixTime {
        let second = date_time_ymd(year, 6, 1).unix_timestamp().unsigned_abs();
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(second))
    }

    #[test]
    fn a_file_without_a_root_that_is_valid_is_refused() {
        for (years, says) in [((2000, 2010), "expired at 2010"), ((3000, 3010), "before 3000")] {
            let error = read(&[&authority(years)]).unwrap_err().to_string();
            assert!(error.contains("tls.client_ca") && error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_root_is_trusted_between_its_dates() {
        let (short, long) = (authority((2000, 2100)), authority((2000, 2200)));
        let provider = Arc::new(ring::default_provider());
        let roots = read(&[&short, &long]).unwrap();
        let clients = roots.clone().client_verifier(ClientCertificates::Required, provider.clone());
        let (clients, servers) = (clients.unwrap(), roots.server_verifier(provider).unwrap());
        let name = ServerName::try_from("localhost").unwrap();
        for (authority, at, is_trusted) in
            [(&short, 2050, true), (&short, 2150, false), (&long, 2150, true), (&long, 2250, false)]
        {
            let leaf = leaf(authority);
            let client = clients.verify_client_cert(&leaf, &[], year(at));
            assert_eq!(client.is_ok(), is_trusted, "{at}: {client:?}");
            let server = servers.verify_server_cert(&leaf, &[], &name, &[], year(at));
            assert_eq!(server.is_ok(), is_trusted, "{at}: {server:?}");
        }
    }
}
