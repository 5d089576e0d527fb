use super::{LongStreams, Standing, Unsent};
use rustls::pki_types::CertificateDer;
use std::{net::SocketAddr, sync::Arc};
use x509_parser::{error::X509Error, extensions::GeneralName, parse_x509_certificate};

/// The other end of a connection, with or without TLS. In the extensions of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it connects from: the caller's own address, or that of a proxy in between.
    pub address: SocketAddr,
    /// The certificate that it proved to have. None without TLS, and if it showed none.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The streams of the connection that go on until somebody ends them.
    pub long_streams: LongStreams,
    /// Whether somebody has proven who calls.
    pub(crate) standing: Standing,
    /// What it was given to send.
    pub(crate) unsent: Unsent,
}

/// The names in a client certificate that was verified up to a root in `tls.client_ca`.
///
/// Names are those of the subject alternative name (RFC 5280), spelled as they are there, not normalized. Any name may be
/// missing: which ones count is for authentication to say. The subject's common name is no identity and not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The URIs, such as the `spiffe://…` of a workload.
    pub uris: Vec<String>,
    /// The DNS names.
    pub dns_names: Vec<String>,
}

impl ClientCertificate {
    /// Reads the names in a certificate that has been verified.
    ///
    /// # Errors
    /// If its names can't be read, all of them.
    pub(super) fn parse(certificate: &CertificateDer<'_>) -> Result<Self, X509Error> {
        let (_, certificate) =
            parse_x509_certificate(certificate).map_err(|_| X509Error::InvalidCertificate)?;
        let mut names = Self { uris: Vec::new(), dns_names: Vec::new() };
        let Some(extension) = certificate.subject_alternative_name()? else { return Ok(names) };
        for name in &extension.value.general_names {
            match name {
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => names.dns_names.push((*name).to_owned()),
                GeneralName::Invalid(..) => return Err(X509Error::InvalidExtensions),
                _ => {}
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, CustomExtension, KeyPair, SanType};

    const SPIFFE: &str = "spiffe://example.org/ns/chat/sa/backend";

    fn certificate(params: CertificateParams) -> CertificateDer<'static> {
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn uris_and_dns_names_are_read_and_nothing_else() {
        let mut params = CertificateParams::new(["one.example".to_owned()]).unwrap();
        params.subject_alt_names.extend([
            SanType::URI(SPIFFE.try_into().unwrap()),
            SanType::Rfc822Name("someone@mail.example".try_into().unwrap()),
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::DnsName("two.example".try_into().unwrap()),
        ]);
        let names = ClientCertificate::parse(&certificate(params)).unwrap();
        assert_eq!(names.uris, [SPIFFE]);
        assert_eq!(names.dns_names, ["one.example", "two.example"]);
    }

    #[test]
    fn a_certificate_may_be_without_names() {
        let names = ClientCertificate::parse(&certificate(CertificateParams::default())).unwrap();
        assert_eq!(names, ClientCertificate { uris: vec![], dns_names: vec![] });
    }

    #[test]
    fn names_that_can_not_be_read_are_errors() {
        // A DNS name and a URI that are not UTF-8, and a list that ends too early.
        for names in [[0x30, 3, 0x82, 1, 0xff].as_slice(), &[0x30, 3, 0x86, 1, 0xff], &[0x30, 9]] {
            let mut params = CertificateParams::default();
            let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], names.to_vec());
            params.custom_extensions.push(extension);
            ClientCertificate::parse(&certificate(params)).unwrap_err();
        }
        ClientCertificate::parse(&CertificateDer::from_slice(b"no certificate")).unwrap_err();
    }
}
