use super::*;
use std::{net::IpAddr, path::Path, time::Duration};
use tokio_postgres::{
    Config,
    config::{ChannelBinding, Host, LoadBalanceHosts, SslMode, SslNegotiation, TargetSessionAttrs},
};

fn parse(url: &str) -> Result<Target, DatabaseUrlError> {
    DatabaseUrl::new(url.to_owned()).target()
}

/// One parameter in both forms, which must say the same.
fn with(keyword: &str, value: &str) -> Result<Target, DatabaseUrlError> {
    let url = parse(&format!("postgres://me@db/keypool?{keyword}={value}"));
    let pairs = parse(&format!("host=db user = me dbname='keypool' {keyword} = '{value}'"));
    match (&url, &pairs) {
        (Ok(url), Ok(pairs)) => {
            assert_eq!(url.config, pairs.config, "{keyword}={value}");
            assert_eq!(url.tls, pairs.tls);
        }
        (
            Err(DatabaseUrlError::Unknown { position: 1 }),
            Err(DatabaseUrlError::Unknown { position: 4 }),
        ) => {}
        (Err(url), Err(pairs)) => assert_eq!(url, pairs),
        _ => panic!("{keyword}={value} says different things: {url:?} {pairs:?}"),
    }
    url
}

fn config(keyword: &str, value: &str) -> Config {
    with(keyword, value).unwrap_or_else(|error| panic!("{keyword}={value}: {error}")).config
}

/// Every parameter of libpq's in PostgreSQL 17's documentation and those that 18 adds, with a value that is honoured, if there is
/// one, and one that is refused, if there is one.
const PARAMETERS: &[(&str, Option<&str>, Option<&str>)] = &[
    ("host", Some("db.example"), None),
    ("hostaddr", Some("10.0.0.1"), Some("db.example")),
    ("port", Some("5433"), Some("many")),
    ("dbname", Some("other"), None),
    ("user", Some("somebody"), None),
    ("password", Some("secret"), None),
    ("passfile", None, Some("/home/me/.pgpass")),
    ("require_auth", None, Some("scram-sha-256")),
    ("channel_binding", Some("require"), Some("maybe")),
    ("connect_timeout", Some("10"), Some("soon")),
    ("client_encoding", Some("UTF8"), Some("LATIN1")),
    ("options", Some("-cwork_mem=8MB"), None),
    ("application_name", Some("pools"), None),
    ("fallback_application_name", Some("pools"), None),
    ("keepalives", Some("0"), Some("on")),
    ("keepalives_idle", Some("60"), Some("x")),
    ("keepalives_interval", Some("10"), Some("x")),
    ("keepalives_count", Some("3"), Some("x")),
    ("tcp_user_timeout", Some("9000"), Some("9s")),
    ("replication", Some("false"), Some("database")),
    ("gssencmode", Some("prefer"), Some("require")),
    ("sslmode", Some("verify-full"), Some("sometimes")),
    ("requiressl", Some("1"), Some("2")),
    ("sslnegotiation", Some("direct"), Some("later")),
    ("sslcompression", Some("0"), Some("1")),
    ("sslcert", Some("/etc/me.crt"), None),
    ("sslkey", Some("/etc/me.key"), None),
    ("sslpassword", None, Some("secret")),
    ("sslcertmode", Some("allow"), Some("require")),
    ("sslrootcert", Some("/etc/ca.crt"), None),
    ("sslcrl", None, Some("/etc/crl.pem")),
    ("sslcrldir", None, Some("/etc/crls")),
    ("sslsni", Some("1"), Some("0")),
    ("requirepeer", None, Some("postgres")),
    ("ssl_min_protocol_version", Some("TLSv1.2"), Some("TLSv1.3")),
    ("ssl_max_protocol_version", Some("TLSv1.3"), Some("TLSv1.2")),
    ("krbsrvname", None, Some("postgres")),
    ("gsslib", None, Some("gssapi")),
    ("gssdelegation", Some("0"), Some("1")),
    ("service", None, Some("keypool")),
    ("target_session_attrs", Some("primary"), Some("standby")),
    ("load_balance_hosts", Some("random"), Some("all")),
    ("servicefile", None, Some("/etc/services")),
    ("sslkeylogfile", None, Some("/tmp/keys")),
    ("min_protocol_version", Some("3.0"), Some("3.2")),
    ("max_protocol_version", Some("latest"), Some("4.0")),
    ("scram_client_key", None, Some("a2V5")),
    ("scram_server_key", None, Some("a2V5")),
    ("oauth_issuer", None, Some("https://login.example")),
    ("oauth_client_id", None, Some("client-7")),
    ("oauth_client_secret", None, Some("s3cr3t")),
    ("oauth_scope", None, Some("openid")),
];

#[test]
fn every_parameter_is_honoured_or_named_with_what_to_use() {
    for (keyword, honoured, refused) in PARAMETERS {
        if let Some(value) = honoured {
            with(keyword, value).unwrap_or_else(|error| panic!("{keyword}={value}: {error}"));
        }
        if let Some(value) = refused {
            let error = with(keyword, value).unwrap_err().to_string();
            assert!(error.starts_with(keyword), "{keyword}={value}: {error}");
            assert!(error.len() > keyword.len() + 10, "{keyword}={value}: {error}");
            assert!(!error.contains(value) || keyword.contains("keepalives"), "{keyword}: {error}");
        }
        if *keyword != "host" {
            with(keyword, "").unwrap_or_else(|error| panic!("{keyword} without a value: {error}"));
        }
    }
}

#[test]
fn tls_that_one_parameter_asks_for_is_not_turned_off_by_another() {
    for tls in ["sslrootcert=system", "ssl=true", "requiressl=1"] {
        for both in
            [format!("host=db {tls} sslmode=disable"), format!("host=db sslmode=disable {tls}")]
        {
            let error = parse(&both).unwrap_err().to_string();
            assert!(error.starts_with("sslmode must be require"), "{both}: {error}");
        }
        let both = format!("host=db sslmode=prefer {tls}");
        assert_eq!(parse(&both).unwrap().config.get_ssl_mode(), SslMode::Require, "{both}");
    }
}

#[test]
fn an_address_is_not_verified_without_a_name() {
    let error = parse("hostaddr=10.0.0.1 sslmode=require").unwrap_err().to_string();
    assert!(error.contains("add host"), "{error}");
    parse("hostaddr=10.0.0.1 host=db sslmode=require").unwrap();
    parse("hostaddr=10.0.0.1 sslmode=disable").unwrap();
}

#[test]
fn what_is_honoured_is_what_libpq_means() {
    assert_eq!(
        config("host", "/run/postgresql").get_hosts(),
        [Host::Unix("/run/postgresql".into())]
    );
    let addresses: [IpAddr; 1] = [[10, 0, 0, 1].into()];
    assert_eq!(config("hostaddr", "10.0.0.1").get_hostaddrs(), addresses);
    assert_eq!(config("port", "5433").get_ports(), [5433]);
    assert_eq!(config("dbname", "other").get_dbname(), Some("other"));
    assert_eq!(config("user", "you").get_user(), Some("you"));
    assert_eq!(config("password", "secret").get_password(), Some(b"secret".as_slice()));
    assert_eq!(config("options", "-cjit=off").get_options(), Some("-cjit=off"));
    assert_eq!(config("application_name", "x").get_application_name(), Some("x"));
    assert_eq!(config("fallback_application_name", "x").get_application_name(), Some("x"));
    let both = parse("host=db application_name=a fallback_application_name=b").unwrap();
    assert_eq!(both.config.get_application_name(), Some("a"));
    let timeout = |value| config("connect_timeout", value).get_connect_timeout().copied();
    assert_eq!((timeout("10"), timeout("0")), (Some(Duration::from_secs(10)), None));
    let unacknowledged = config("tcp_user_timeout", "9000");
    assert_eq!(unacknowledged.get_tcp_user_timeout(), Some(&Duration::from_secs(9)));
    assert!(!config("keepalives", "0").get_keepalives());
    assert_eq!(config("keepalives_idle", "60").get_keepalives_idle(), Duration::from_secs(60));
    let interval = config("keepalives_interval", "7").get_keepalives_interval();
    assert_eq!(interval, Some(Duration::from_secs(7)));
    for name in ["keepalives_count", "keepalives_retries"] {
        assert_eq!(config(name, "4").get_keepalives_retries(), Some(4));
    }
    for (value, mode) in [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Prefer),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::Require),
        ("verify-full", SslMode::Require),
    ] {
        assert_eq!(config("sslmode", value).get_ssl_mode(), mode, "{value}");
    }
    assert_eq!(config("ssl", "true").get_ssl_mode(), SslMode::Require);
    assert_eq!(config("requiressl", "1").get_ssl_mode(), SslMode::Require);
    assert_eq!(config("sslnegotiation", "direct").get_ssl_negotiation(), SslNegotiation::Direct);
    assert_eq!(config("channel_binding", "require").get_channel_binding(), ChannelBinding::Require);
    for value in ["read-write", "primary"] {
        let attributes = config("target_session_attrs", value).get_target_session_attrs();
        assert_eq!(attributes, TargetSessionAttrs::ReadWrite);
    }
    let order = config("load_balance_hosts", "random").get_load_balance_hosts();
    assert_eq!(order, LoadBalanceHosts::Random);
    let file = |keyword| with(keyword, "/etc/file").unwrap().tls;
    assert_eq!(file("sslrootcert").ca.as_deref(), Some(Path::new("/etc/file")));
    assert_eq!(file("sslcert").certificate.as_deref(), Some(Path::new("/etc/file")));
    assert_eq!(file("sslkey").key.as_deref(), Some(Path::new("/etc/file")));
    let system = with("sslrootcert", "system").unwrap();
    assert_eq!((system.tls.ca, system.config.get_ssl_mode()), (None, SslMode::Require));
}

#[test]
fn both_forms_are_read_as_libpq_reads_them() {
    let target = |url: &str| parse(url).unwrap_or_else(|error| panic!("{url}: {error}")).config;
    let url = target(
        "postgresql://me:p%40ss%3Fw%26rd@a:1,[::1]:2,%2Frun%2Fpg/my%20pools?connect_timeout=3",
    );
    let pairs = target(
        "  host=a,::1,/run/pg port = 1,2, user=me\tpassword='p@ss?w&rd' dbname='my pools' connect_timeout=3",
    );
    assert_eq!(url, pairs);
    assert_eq!(url.get_ports(), [1, 2, 5432]);
    assert_eq!(
        target(r"host=a password='it\'s' user=a\ b").get_password(),
        Some(b"it's".as_slice())
    );
    assert_eq!(target(r"host=a user=a\ b").get_user(), Some("a b"));
    // What has to be escaped is often not.
    for (url, password) in [
        ("postgres://me:a/b@db/x", "a/b"),
        ("postgres://me:a?b=c@db/x?user=y", "a?b=c"),
        ("postgres://me:100%@db/x", "100%"),
        ("postgres://me:a:b@db/x", "a:b"),
    ] {
        assert_eq!(target(url).get_password(), Some(password.as_bytes()), "{url}");
        assert_eq!(target(url).get_hosts(), [Host::Tcp("db".to_owned())], "{url}");
    }
    let in_parameters = target("postgres://db/x?user=me@example&password=s@crt");
    assert_eq!(in_parameters.get_user(), Some("me@example"));
    let raw = target("postgres://me:%FF@db/x");
    assert_eq!(raw.get_password(), Some([0xff].as_slice()));
    let url = "postgres://me:a?sslmode=verify-full@db?user=sslmode=verify-full&application_name=x";
    assert_eq!(target(url).get_password(), Some(b"a?sslmode=verify-full".as_slice()));
    assert_eq!(target(url).get_user(), Some("sslmode=verify-full"));
}

#[test]
fn what_is_wrong_is_said_and_nothing_of_it_shown() {
    let is = |url: &str| parse(url).unwrap_err();
    for url in [
        "hunter2",
        "postgres://me:hunter2@[",
        "host='hunter2",
        "postgres://db?hunter2",
        "a hunter2=3",
    ] {
        assert_eq!(is(url), DatabaseUrlError::NotOne, "{url}");
    }
    for url in ["", "postgres://", "postgres:///keypool", "dbname=keypool", "postgres://a,,b/x"] {
        assert_eq!(is(url), DatabaseUrlError::NoHost, "{url}");
    }
    for url in ["host=a,b,c port=1,2", "host=a,b hostaddr=10.0.0.1"] {
        assert_eq!(is(url), DatabaseUrlError::Hosts, "{url}");
    }
    let unknown = is("postgres://db/x?connect_timeout=3&hunter2=hunter2");
    assert_eq!(unknown, DatabaseUrlError::Unknown { position: 2 });
    assert!(!format!("{unknown} {unknown:?}").contains("hunter2"));
    assert_eq!(is("host=db hunter2=1"), DatabaseUrlError::Unknown { position: 2 });
}
