//! How a replica is connected to.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tonic::transport::{Endpoint, Uri};

use super::Dial;
#[cfg(feature = "tls")]
use super::TlsConfig;
use crate::ConfigError;

const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What holds for every connection.
#[derive(Debug, Clone)]
pub(crate) struct EndpointOptions {
    pub(crate) connect_timeout: Duration,
    pub(crate) dial: Dial,
    /// What is not encrypted must not leave this host, as there are tokens.
    pub(crate) keeps_tokens: bool,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<TlsConfig>,
}

/// An endpoint as the application named it.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) endpoint: Endpoint,
    /// What to look up. `None` for a Unix socket.
    pub(crate) host: Option<(String, u16)>,
}

impl EndpointOptions {
    pub(crate) fn parse(&self, name: &str) -> Result<Named, ConfigError> {
        let invalid = || ConfigError::Endpoint { endpoint: name.to_owned() };
        let endpoint = Endpoint::from_shared(name.to_owned()).map_err(|_| invalid())?;
        let host = match name.starts_with("unix:") {
            true => None,
            false => Some(host(endpoint.uri()).ok_or_else(invalid)?),
        };
        let server = host.as_ref().map(|(host, _)| host.as_str());
        self.check_tokens(&endpoint, name, server.is_none_or(is_this_host))?;
        let endpoint = self.encrypt(self.prepare(endpoint), name, server)?;
        Ok(Named { endpoint, host })
    }

    /// One of the addresses behind the name. To the server, and to TLS, it is still called by name.
    pub(crate) fn at(&self, named: &Named, address: SocketAddr) -> Result<Endpoint, ConfigError> {
        let uri = named.endpoint.uri();
        let place = format!("{}://{address}", uri.scheme_str().unwrap_or("http"));
        let invalid = |_| ConfigError::Endpoint { endpoint: place.clone() };
        let endpoint = Endpoint::from_shared(place.clone()).map_err(invalid)?;
        // Whatever the name promised.
        self.check_tokens(&endpoint, &place, is_loopback(address.ip()))?;
        let endpoint = self.prepare(endpoint).origin(uri.clone());
        self.encrypt(endpoint, &place, named.host.as_ref().map(|(host, _)| host.as_str()))
    }

    fn check_tokens(
        &self,
        endpoint: &Endpoint,
        name: &str,
        is_this_host: bool,
    ) -> Result<(), ConfigError> {
        if self.keeps_tokens && !is_this_host && !is_https(endpoint) {
            return Err(ConfigError::PlainTextTokens { endpoint: name.to_owned() });
        }
        Ok(())
    }

    /// Pings notice a dead peer, which a silent watch would wait for for ever.
    fn prepare(&self, endpoint: Endpoint) -> Endpoint {
        endpoint
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
    }

    #[cfg(feature = "tls")]
    fn encrypt(
        &self,
        endpoint: Endpoint,
        name: &str,
        server: Option<&str>,
    ) -> Result<Endpoint, ConfigError> {
        match (server, is_https(&endpoint)) {
            (Some(server), true) => {
                let tls = self.tls.clone().unwrap_or_default();
                let tls = tls.for_server(server)?.timeout(self.connect_timeout);
                endpoint.tls_config(tls).map_err(|error| ConfigError::Tls(Box::new(error)))
            }
            _ if self.tls.is_some() => Err(ConfigError::NotHttps { endpoint: name.to_owned() }),
            _ => Ok(endpoint),
        }
    }

    #[cfg(not(feature = "tls"))]
    fn encrypt(
        &self,
        endpoint: Endpoint,
        name: &str,
        _server: Option<&str>,
    ) -> Result<Endpoint, ConfigError> {
        match is_https(&endpoint) {
            true => Err(ConfigError::TlsNotCompiled { endpoint: name.to_owned() }),
            false => Ok(endpoint),
        }
    }
}

fn is_https(endpoint: &Endpoint) -> bool {
    endpoint.uri().scheme_str() == Some("https")
}

/// Whether the host is this one, whatever a name server says: a loopback address, or `localhost`
/// (RFC 6761, section 6.3).
fn is_this_host(host: &str) -> bool {
    match host.parse() {
        Ok(address) => is_loopback(address),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn host(uri: &Uri) -> Option<(String, u16)> {
    let port = match uri.scheme_str()? {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let host = uri.host().filter(|host| !host.is_empty())?;
    // An IPv6 address is in brackets.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), uri.port_u16().unwrap_or(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(keeps_tokens: bool) -> EndpointOptions {
        EndpointOptions {
            connect_timeout: Duration::from_secs(1),
            dial: Dial::default(),
            keeps_tokens,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    fn parse(name: &str) -> Result<Option<(String, u16)>, ConfigError> {
        options(false).parse(name).map(|named| named.host)
    }

    #[test]
    fn a_name_of_this_host_that_stands_for_another_gets_no_tokens() {
        let loopback: [SocketAddr; 3] =
            ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"].map(|text| text.parse().unwrap());
        let elsewhere: [SocketAddr; 2] =
            ["192.0.2.1:1", "[2001:db8::1]:1"].map(|text| text.parse().unwrap());
        for keeps_tokens in [true, false] {
            let options = options(keeps_tokens);
            let localhost = options.parse("http://localhost:1").unwrap();
            for address in loopback {
                options.at(&localhost, address).unwrap();
            }
            for address in elsewhere {
                assert_eq!(options.at(&localhost, address).is_err(), keeps_tokens, "{address}");
            }
        }
    }

    #[test]
    fn an_endpoint_has_a_host_and_a_port() {
        let host = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(parse("http://127.0.0.1:50051").unwrap(), host("127.0.0.1", 50051));
        assert_eq!(parse("http://keypool.internal").unwrap(), host("keypool.internal", 80));
        assert_eq!(parse("http://[::1]:7").unwrap(), host("::1", 7));
        assert_eq!(parse("unix:/run/keypool").unwrap(), None);
    }

    #[test]
    fn anything_else_is_none() {
        for name in ["", "localhost:50051", "ftp://localhost", "http://", "http://a b", "/"] {
            let error = parse(name).unwrap_err();
            assert!(matches!(error, ConfigError::Endpoint { .. }), "{name}: {error:?}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn without_the_feature_https_is_refused() {
        let error = parse("https://localhost").unwrap_err();
        assert!(matches!(error, ConfigError::TlsNotCompiled { .. }), "{error:?}");
    }
}
