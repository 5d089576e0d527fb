use crate::auth::Role;
use serde::{Deserialize, Serialize};

/// Client certificates that are a service's, and what it may be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// The names that match.
    pub name: CertificatePattern,
    /// The service's roles: at least one. Not `device`: a service has no pool of its own.
    pub roles: Vec<Role>,
}

/// Which subject alternative names of a certificate match (RFC 5280, section 4.2.1.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CertificatePattern {
    /// A DNS name, by letters of either case.
    Dns(String),
    /// A URI, such as a SPIFFE id, byte for byte.
    Uri(String),
    /// The URIs below this one, which ends with `/`.
    UrisBelow(String),
}

impl CertificatePattern {
    /// Whether a URI of a certificate matches.
    #[must_use]
    pub fn matches_uri(&self, uri: &str) -> bool {
        match self {
            Self::Dns(_) => false,
            Self::Uri(name) => name == uri,
            Self::UrisBelow(prefix) => uri.len() > prefix.len() && uri.starts_with(prefix),
        }
    }

    /// Whether a DNS name of a certificate matches.
    #[must_use]
    pub fn matches_dns(&self, dns_name: &str) -> bool {
        matches!(self, Self::Dns(name) if name.eq_ignore_ascii_case(dns_name))
    }
}

impl TryFrom<String> for CertificatePattern {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name.is_empty() {
            return Err("a certificate's name must not be empty");
        }
        let prefix = name.strip_suffix('*');
        if prefix.unwrap_or(&name).contains('*') {
            return Err("a certificate's name may hold \"*\" only at its end");
        }
        match prefix {
            None if name.contains("://") => Ok(Self::Uri(name)),
            None => Ok(Self::Dns(name)),
            Some(prefix) if names_a_host(prefix) && prefix.ends_with('/') => {
                Ok(Self::UrisBelow(prefix.to_owned()))
            }
            Some(_) => Err("a certificate's name may end with \"*\" only after a URI with a host \
                            and a \"/\", as in spiffe://example.org/ns/chat/*"),
        }
    }
}

/// Whether more than the scheme of a URI is said, so that its names are those of one authority.
fn names_a_host(prefix: &str) -> bool {
    prefix
        .split_once("://")
        .and_then(|(_scheme, rest)| rest.split_once('/'))
        .is_some_and(|(host, _path)| !host.is_empty())
}

impl From<CertificatePattern> for String {
    fn from(pattern: CertificatePattern) -> Self {
        match pattern {
            CertificatePattern::Dns(name) | CertificatePattern::Uri(name) => name,
            CertificatePattern::UrisBelow(prefix) => prefix + "*",
        }
    }
}
