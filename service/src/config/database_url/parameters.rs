//! What each of libpq's parameters means here.

use super::{DatabaseUrlError, text::Pair};
use crate::{config::DatabaseTlsConfig, store::needs_tls};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt, str, time::Duration};
use tokio_postgres::{
    Config,
    config::{ChannelBinding, LoadBalanceHosts, SslMode, SslNegotiation, TargetSessionAttrs},
};

/// A parameter that is not supported.
struct Unsupported {
    parameter: &'static str,
    /// Values that ask for what is done anyway.
    harmless: &'static [&'static str],
    instead: &'static str,
}

const fn unsupported(
    parameter: &'static str,
    harmless: &'static [&'static str],
    instead: &'static str,
) -> Unsupported {
    Unsupported { parameter, harmless, instead }
}

const NO_GSSAPI: &str =
    "keypool has no GSSAPI: use a password, or a client certificate (sslcert and sslkey)";
const NO_OAUTH: &str =
    "keypool has no OAuth login: use a password, or a client certificate (sslcert and sslkey)";
const WRITE_OUT: &str = "write host, port, database and user here";

const UNSUPPORTED: &[Unsupported] = &[
    unsupported(
        "passfile",
        &[],
        "set database_password_file to a file that holds the password alone",
    ),
    unsupported("service", &[], WRITE_OUT),
    unsupported("servicefile", &[], WRITE_OUT),
    unsupported(
        "require_auth",
        &[],
        "pg_hba.conf says how the role logs in; with TLS, channel_binding=require proves who the server is",
    ),
    unsupported(
        "client_encoding",
        &["utf8", "utf-8", "unicode", "auto"],
        "keypool always speaks UTF8: leave it out",
    ),
    unsupported(
        "replication",
        &["false", "off", "no", "0"],
        "leave it out: keypool runs statements",
    ),
    unsupported("gssencmode", &["disable", "prefer"], "use TLS: sslmode=verify-full"),
    unsupported("gssdelegation", &["0"], NO_GSSAPI),
    unsupported("krbsrvname", &[], NO_GSSAPI),
    unsupported("gsslib", &[], NO_GSSAPI),
    unsupported("sslcompression", &["0"], "TLS is never compressed: leave it out"),
    unsupported(
        "sslpassword",
        &[],
        "let sslkey name a key that is not encrypted, which only keypool can read",
    ),
    unsupported(
        "sslcertmode",
        &["allow"],
        "the certificate of sslcert is shown if the server asks for one: leave it out",
    ),
    unsupported(
        "sslcrl",
        &[],
        "revocation lists are not read: let sslrootcert name authorities whose certificates end soon",
    ),
    unsupported(
        "sslcrldir",
        &[],
        "revocation lists are not read: let sslrootcert name authorities whose certificates end soon",
    ),
    unsupported("sslsni", &["1"], "the host's name is always sent: leave it out"),
    unsupported("sslkeylogfile", &[], "the keys of TLS are never written: leave it out"),
    unsupported(
        "requirepeer",
        &[],
        "let only PostgreSQL's account write to the folder of the socket",
    ),
    unsupported(
        "ssl_min_protocol_version",
        &["tlsv1", "tlsv1.1", "tlsv1.2"],
        "TLS 1.2 and 1.3 are spoken: set ssl_min_protocol_version in postgresql.conf",
    ),
    unsupported(
        "ssl_max_protocol_version",
        &["tlsv1.3"],
        "TLS 1.2 and 1.3 are spoken: set ssl_max_protocol_version in postgresql.conf",
    ),
    unsupported("min_protocol_version", &["3.0"], "leave it out: version 3.0 is spoken"),
    unsupported(
        "max_protocol_version",
        &["3.0", "3.2", "latest"],
        "leave it out: version 3.0 is spoken",
    ),
    unsupported("scram_client_key", &[], "use a password"),
    unsupported("scram_server_key", &[], "use a password"),
    unsupported("oauth_issuer", &[], NO_OAUTH),
    unsupported("oauth_client_id", &[], NO_OAUTH),
    unsupported("oauth_client_secret", &[], NO_OAUTH),
    unsupported("oauth_scope", &[], NO_OAUTH),
];

/// Where a URL leads.
#[derive(Debug, Default)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) tls: DatabaseTlsConfig,
    hosts: Vec<Vec<u8>>,
    ports: Vec<u16>,
    fallback_application_name: Option<String>,
    /// Whether a parameter other than `sslmode` asks for TLS.
    requires_tls: bool,
}

impl Target {
    /// What the pairs say, of which the last of a keyword counts.
    pub(super) fn of(pairs: &[Pair]) -> Result<Self, DatabaseUrlError> {
        let mut target = Self::default();
        for (index, pair) in pairs.iter().enumerate() {
            let is_last = pairs[index + 1..].iter().all(|later| later.keyword != pair.keyword);
            // As with libpq, an empty value is none.
            if is_last && !pair.value.is_empty() {
                target.set(pair)?;
            }
        }
        target.require_tls()?;
        target.place()?;
        if let (None, Some(name)) =
            (target.config.get_application_name(), target.fallback_application_name.take())
        {
            target.config.application_name(name);
        }
        Ok(target)
    }

    fn set(&mut self, pair: &Pair) -> Result<(), DatabaseUrlError> {
        let (keyword, value) = (pair.keyword.as_str(), pair.value.as_slice());
        // These need not be UTF-8.
        match keyword {
            "password" => {
                self.config.password(value);
                return Ok(());
            }
            "host" => {
                self.hosts = value.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect();
                return Ok(());
            }
            _ => {}
        }
        let text = str::from_utf8(value).map_err(|_| DatabaseUrlError::NotOne)?;
        let is_set = self.set_session(keyword, text)?
            || self.set_tls(keyword, text)?
            || self.set_network(keyword, text)?
            || is_harmless(keyword, text)?;
        if is_set { Ok(()) } else { Err(DatabaseUrlError::Unknown { position: pair.position }) }
    }

    /// Who connects to what. Returns whether the keyword is about that, as the next ones do.
    fn set_session(&mut self, keyword: &str, text: &str) -> Result<bool, DatabaseUrlError> {
        let config = &mut self.config;
        match keyword {
            "dbname" => config.dbname(text),
            "user" => config.user(text),
            "options" => config.options(text),
            "application_name" => config.application_name(text),
            "fallback_application_name" => {
                self.fallback_application_name = Some(text.to_owned());
                config
            }
            "target_session_attrs" => {
                let attributes = [
                    ("any", TargetSessionAttrs::Any),
                    ("read-write", TargetSessionAttrs::ReadWrite),
                    // A primary that does not take writes is of no use here.
                    ("primary", TargetSessionAttrs::ReadWrite),
                ];
                let accepted = "read-write, primary or any: keypool writes";
                config.target_session_attrs(choose(
                    "target_session_attrs",
                    text,
                    &attributes,
                    accepted,
                )?)
            }
            _ => return Ok(false),
        };
        Ok(true)
    }

    fn set_tls(&mut self, keyword: &str, text: &str) -> Result<bool, DatabaseUrlError> {
        let config = &mut self.config;
        match keyword {
            "sslmode" => {
                let modes = [
                    ("disable", SslMode::Disable),
                    // Over a network both go by TLS, and whatever goes by TLS is verified in full.
                    ("allow", SslMode::Prefer),
                    ("prefer", SslMode::Prefer),
                    ("require", SslMode::Require),
                    ("verify-ca", SslMode::Require),
                    ("verify-full", SslMode::Require),
                ];
                let accepted = "disable, allow, prefer, require, verify-ca or verify-full";
                config.ssl_mode(choose("sslmode", text, &modes, accepted)?);
            }
            "ssl" => {
                self.requires_tls =
                    choose("ssl", text, &[("true", true)], "true; else use sslmode")?;
            }
            "requiressl" => {
                let choices = [("0", false), ("1", true)];
                self.requires_tls |=
                    choose("requiressl", text, &choices, "0 or 1; better use sslmode")?;
            }
            "sslnegotiation" => {
                let ways =
                    [("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];
                let way = choose("sslnegotiation", text, &ways, "postgres or direct")?;
                config.ssl_negotiation(way);
            }
            "channel_binding" => {
                let bindings = [
                    ("disable", ChannelBinding::Disable),
                    ("prefer", ChannelBinding::Prefer),
                    ("require", ChannelBinding::Require),
                ];
                let accepted = "disable, prefer or require";
                config.channel_binding(choose("channel_binding", text, &bindings, accepted)?);
            }
            "sslrootcert" if text == "system" => self.requires_tls = true,
            "sslrootcert" => self.tls.ca = Some(text.into()),
            "sslcert" => self.tls.certificate = Some(text.into()),
            "sslkey" => self.tls.key = Some(text.into()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_network(&mut self, keyword: &str, text: &str) -> Result<bool, DatabaseUrlError> {
        let config = &mut self.config;
        match keyword {
            "hostaddr" => {
                for address in text.split(',') {
                    let address = address.parse();
                    config.hostaddr(address.map_err(|_| value("hostaddr", "numeric addresses"))?);
                }
            }
            "port" => {
                let port = |port: &str| if port.is_empty() { Ok(5432) } else { port.parse() };
                let ports = text.split(',').map(port).collect::<Result<_, _>>();
                self.ports = ports.map_err(|_| value("port", "numbers from 1 to 65535"))?;
            }
            "connect_timeout" => {
                if let Some(seconds) = number("connect_timeout", text)? {
                    config.connect_timeout(Duration::from_secs(seconds));
                }
            }
            "tcp_user_timeout" => {
                if let Some(milliseconds) = number("tcp_user_timeout", text)? {
                    config.tcp_user_timeout(Duration::from_millis(milliseconds));
                }
            }
            "keepalives" => {
                let on = choose("keepalives", text, &[("0", false), ("1", true)], "0 or 1")?;
                config.keepalives(on);
            }
            "keepalives_idle" => {
                if let Some(seconds) = number("keepalives_idle", text)? {
                    config.keepalives_idle(Duration::from_secs(seconds));
                }
            }
            "keepalives_interval" => {
                if let Some(seconds) = number("keepalives_interval", text)? {
                    config.keepalives_interval(Duration::from_secs(seconds));
                }
            }
            // The second name is the driver's own.
            "keepalives_count" | "keepalives_retries" => {
                let count = number("keepalives_count", text)?.map(u32::try_from);
                if let Some(Ok(count)) = count {
                    config.keepalives_retries(count);
                }
            }
            "load_balance_hosts" => {
                let orders =
                    [("disable", LoadBalanceHosts::Disable), ("random", LoadBalanceHosts::Random)];
                let order = choose("load_balance_hosts", text, &orders, "disable or random")?;
                config.load_balance_hosts(order);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Puts hosts, addresses and ports together.
    fn place(&mut self) -> Result<(), DatabaseUrlError> {
        let addresses = self.config.get_hostaddrs().len();
        let places = self.hosts.len().max(addresses);
        if places == 0 || self.hosts.iter().any(Vec::is_empty) {
            return Err(DatabaseUrlError::NoHost);
        }
        let fits = |count: usize| count == 0 || count == places;
        if !fits(self.hosts.len())
            || !fits(addresses)
            || !(self.ports.len() == 1 || fits(self.ports.len()))
        {
            return Err(DatabaseUrlError::Hosts);
        }
        for host in &self.hosts {
            if host.starts_with(b"/") {
                self.config.host_path(OsStr::from_bytes(host));
            } else {
                self.config.host(str::from_utf8(host).map_err(|_| DatabaseUrlError::NotOne)?);
            }
        }
        for port in &self.ports {
            self.config.port(*port);
        }
        if self.hosts.is_empty() && needs_tls(&self.config) {
            return Err(DatabaseUrlError::NoName);
        }
        Ok(())
    }

    /// TLS that one parameter asks for is not turned off by another, whichever comes first.
    fn require_tls(&mut self) -> Result<(), DatabaseUrlError> {
        if self.requires_tls {
            if self.config.get_ssl_mode() == SslMode::Disable {
                return Err(value(
                    "sslmode",
                    "require beside ssl, requiressl and sslrootcert=system",
                ));
            }
            self.config.ssl_mode(SslMode::Require);
        }
        Ok(())
    }
}

/// Whether the keyword is one of [`UNSUPPORTED`], with a value that asks for what is done anyway.
fn is_harmless(keyword: &str, text: &str) -> Result<bool, DatabaseUrlError> {
    match UNSUPPORTED.iter().find(|one| one.parameter == keyword) {
        None => Ok(false),
        Some(one) if one.harmless.contains(&text.to_lowercase().as_str()) => Ok(true),
        Some(Unsupported { parameter, instead, .. }) => {
            Err(DatabaseUrlError::Unsupported { parameter, instead })
        }
    }
}

fn choose<T: Copy>(
    parameter: &'static str,
    text: &str,
    choices: &[(&str, T)],
    accepted: &'static str,
) -> Result<T, DatabaseUrlError> {
    let chosen = choices.iter().find(|(name, _)| *name == text);
    chosen.map(|(_, choice)| *choice).ok_or(value(parameter, accepted))
}

/// A positive number; 0 and less ask for the default.
fn number(parameter: &'static str, text: &str) -> Result<Option<u64>, DatabaseUrlError> {
    let number: i32 = text.trim().parse().map_err(|_| value(parameter, "a number"))?;
    Ok(u64::try_from(number).ok().filter(|number| *number > 0))
}

fn value(parameter: &'static str, accepted: &'static str) -> DatabaseUrlError {
    DatabaseUrlError::Value { parameter, accepted }
}
