use crate::{
    auth::Role,
    config::{AuthConfig, CertificatePattern, Config, ConfigError, JwksLocation},
};
use jiff::SignedDuration;
use serde::Serialize;
use std::io::Write;

const TOKENS: &str = "[auth.tokens]
issuer = 'https://login.example.com'
audience = 'keypool'
jwks = 'https://login.example.com/.well-known/jwks.json'
";

#[derive(Serialize)]
struct NoFlags {}

fn load(toml: &str) -> Result<AuthConfig, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    Config::load(Some(file.path()), NoFlags {}).map(|config| config.auth)
}

#[test]
fn nobody_has_to_prove_anything_unless_configured() {
    assert!(!load("").unwrap().is_required());
    assert!(load(TOKENS).unwrap().is_required());
    let certificate = "[[auth.certificates]]\nname = 'chat.example.org'\nroles = ['backend']";
    assert!(load(certificate).unwrap().is_required());
}

#[test]
fn what_is_not_said_has_a_default() {
    let tokens = load(TOKENS).unwrap().tokens.unwrap();
    assert_eq!(tokens.leeway, SignedDuration::from_secs(30));
    assert_eq!(
        (&*tokens.user_claim, &*tokens.device_claim, &*tokens.roles_claim),
        ("sub", "device_id", "roles")
    );
    assert_eq!(tokens.grant_claim, None);
    assert_eq!(tokens.audience.names(), ["keypool"]);
    assert_eq!(tokens.roles.len(), Role::ALL.len());
    assert_eq!(tokens.roles["inviter"], Role::Inviter);
}

#[test]
fn a_table_of_roles_replaces_the_default() {
    let toml = format!("{TOKENS}[auth.tokens.roles]\n'keypool-admin' = 'admin'");
    let tokens = load(&toml).unwrap().tokens.unwrap();
    assert_eq!(Vec::from_iter(tokens.roles), [("keypool-admin".to_owned(), Role::Admin)]);
}

#[test]
fn keys_come_by_tls_or_from_a_file() {
    let location = |text: &str| JwksLocation::try_from(text.to_owned());
    assert!(matches!(location("https://a.example/jwks"), Ok(JwksLocation::Https(_))));
    assert!(matches!(location("/etc/keypool/jwks.json"), Ok(JwksLocation::File(_))));
    for refused in ["", "http://a.example/jwks", "ftp://a", "https://", "https://me:secret@a"] {
        let error = location(refused).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn names_of_certificates_match_exactly_or_by_a_path() {
    let pattern = |text: &str| CertificatePattern::try_from(text.to_owned());
    let below = pattern("spiffe://example.org/ns/chat/*").unwrap();
    assert!(below.matches_uri("spiffe://example.org/ns/chat/sa/backend"));
    for other in ["spiffe://example.org/ns/chat/", "spiffe://example.org/ns/chatter", "", "*"] {
        assert!(!below.matches_uri(other), "{other}");
    }
    let exact = pattern("spiffe://example.org/a").unwrap();
    assert!(exact.matches_uri("spiffe://example.org/a"));
    assert!(!exact.matches_uri("spiffe://example.org/a/b"));
    assert!(!exact.matches_dns("spiffe://example.org/a"));
    let dns = pattern("chat.example.org").unwrap();
    assert!(dns.matches_dns("Chat.Example.ORG"));
    assert!(!dns.matches_dns("a.chat.example.org") && !dns.matches_uri("chat.example.org"));
    for refused in [
        "",
        "*",
        "spiffe://*",
        "spiffe:///*",
        "spiffe://example.org*",
        "spiffe://example.org/a*",
        "spiffe://*/a",
        "spiffe://example.org/**",
        "*.example.org",
        "chat.*",
    ] {
        assert!(pattern(refused).is_err(), "{refused}");
    }
}

#[test]
fn what_is_wrong_is_said_by_name() {
    let with = |line: &str| format!("{TOKENS}{line}");
    for (toml, said) in [
        ("[auth.tokens]\naudience = 'a'\njwks = '/a'".to_owned(), "issuer"),
        ("[auth.tokens]\nissuer = ''\naudience = 'a'\njwks = '/a'".to_owned(), "issuer"),
        ("[auth.tokens]\nissuer = 'a'\naudience = []\njwks = '/a'".to_owned(), "audience"),
        ("[auth.tokens]\nissuer = 'a'\naudience = ''\njwks = '/a'".to_owned(), "audience"),
        ("[auth.tokens]\nissuer = 'a'\naudience = 'a'\njwks = 'http://a'".to_owned(), "https"),
        (
            "[auth.tokens]\nissuer = 'a'\naudience = 'a'\njwks = '/a'\njwks_ca = '/b'".to_owned(),
            "jwks_ca",
        ),
        (with("leeway = '6m'"), "leeway"),
        (with("leeway = '-1s'"), "leeway"),
        (with("user_claim = ''"), "user_claim"),
        (with("roles_claim = ''"), "roles_claim"),
        (with("refresh_interval = '0s'"), "auth.tokens.refresh_interval"),
        (with("min_refresh_interval = '0s'"), "min_refresh_interval"),
        (with("[auth.tokens.roles]"), "auth.tokens.roles"),
        (with("[auth.tokens.roles]\na = 'root'"), "root"),
        (with("secret = 'a'"), "secret"),
        ("[[auth.certificates]]\nname = 'a'".to_owned(), "roles"),
        ("[[auth.certificates]]\nname = 'a'\nroles = []".to_owned(), "at least one role"),
        ("[[auth.certificates]]\nname = 'a'\nroles = ['device']".to_owned(), "device"),
        ("[[auth.certificates]]\nname = '*'\nroles = ['admin']".to_owned(), "only after a URI"),
    ] {
        let error = load(&toml).expect_err(&toml).to_string();
        assert!(error.contains(said), "{toml}\n{error}");
    }
}
