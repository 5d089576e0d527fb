use super::Principal;
use crate::config::CertificateConfig;

/// The subject alternative names of a client certificate that was verified (RFC 5280, section 4.2.1.6).
#[derive(Debug, Clone, Copy)]
pub struct CertificateNames<'a> {
    /// Its URIs, such as a SPIFFE id.
    pub uris: &'a [String],
    /// Its DNS names.
    pub dns_names: &'a [String],
}

impl CertificateNames<'_> {
    /// The service that the certificate is, named by the first of its names that the first matching entry matches. None
    /// if no entry matches, or if the name is too long for a principal.
    pub(super) fn principal(self, services: &[CertificateConfig]) -> Option<Principal> {
        services.iter().find_map(|service| {
            let name = self.first_match(service)?;
            Principal::service(name, service.roles.iter().copied().collect()).ok()
        })
    }

    fn first_match(&self, service: &CertificateConfig) -> Option<&str> {
        let mut uris = self.uris.iter().filter(|uri| service.name.matches_uri(uri));
        let mut dns_names = self.dns_names.iter().filter(|name| service.name.matches_dns(name));
        uris.next().or_else(|| dns_names.next()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{auth::Role, config::CertificatePattern};

    fn services() -> Vec<CertificateConfig> {
        [
            ("spiffe://example.org/ns/chat/sa/admin", Role::Admin),
            ("spiffe://example.org/ns/chat/*", Role::Backend),
            ("invites.example.org", Role::Inviter),
        ]
        .map(|(name, role)| CertificateConfig {
            name: CertificatePattern::try_from(name.to_owned()).unwrap(),
            roles: vec![role],
        })
        .into()
    }

    fn principal(uris: &[&str], dns_names: &[&str]) -> Option<(String, Role)> {
        let owned = |names: &[&str]| Vec::from_iter(names.iter().map(|&name| name.to_owned()));
        let (uris, dns_names) = (owned(uris), owned(dns_names));
        let names = CertificateNames { uris: &uris, dns_names: &dns_names };
        let principal = names.principal(&services())?;
        assert!(principal.user_id().is_none() && principal.device_id().is_none());
        let role = Role::ALL.into_iter().find(|&role| principal.roles().contains(role));
        Some((principal.name().to_string(), role.unwrap()))
    }

    fn service(name: &str, role: Role) -> Option<(String, Role)> {
        Some((format!("service:{name}"), role))
    }

    #[test]
    fn the_first_entry_that_matches_counts() {
        let admin = "spiffe://example.org/ns/chat/sa/admin";
        let backend = "spiffe://example.org/ns/chat/sa/backend";
        assert_eq!(principal(&[admin], &[]), service(admin, Role::Admin));
        assert_eq!(principal(&[backend, admin], &[]), service(admin, Role::Admin));
        assert_eq!(
            principal(&["urn:a", backend], &["invites.example.org"]),
            service(backend, Role::Backend)
        );
        assert_eq!(
            principal(&[], &["a", "invites.example.org"]),
            service("invites.example.org", Role::Inviter)
        );
    }

    #[test]
    fn other_certificates_are_nobody() {
        assert_eq!(principal(&[], &[]), None);
        assert_eq!(principal(&["spiffe://example.com/ns/chat/sa/admin"], &[]), None);
        // A DNS name that spells a service's URI, and the other way round.
        assert_eq!(principal(&[], &["spiffe://example.org/ns/chat/sa/admin"]), None);
        assert_eq!(principal(&["invites.example.org"], &[]), None);
        let endless = format!("spiffe://example.org/ns/chat/{}", "x".repeat(255));
        assert_eq!(principal(&[&endless], &[]), None);
        assert_eq!(principal(&["spiffe://example.org/ns/chat/\n"], &[]), None);
    }
}
