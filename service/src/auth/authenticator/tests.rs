use super::*;
use crate::{
    auth::{Method, Role, Subject, authorize},
    clock::ShiftedClock,
    config::{CertificatePattern, JwksLocation},
    testing::issuer::TestIssuer,
    types::{Target, UserId},
};

const CHAT: &str = "spiffe://example.org/chat";

fn certificates() -> Vec<CertificateConfig> {
    let name = CertificatePattern::try_from(CHAT.to_owned()).unwrap();
    vec![CertificateConfig { name, roles: vec![Role::Backend] }]
}

fn authenticator(config: &AuthConfig) -> Authenticator {
    Authenticator::new(config, Arc::new(ShiftedClock::default()), &Supervisor::default())
        .unwrap()
        .unwrap()
}

async fn name(
    authenticator: &Authenticator,
    bearer: Option<&str>,
    uri: Option<&str>,
) -> Result<String, AuthenticationError> {
    let uris = Vec::from_iter(uri.map(str::to_owned));
    let names = uri.map(|_| CertificateNames { uris: &uris, dns_names: &[] });
    let principal = authenticator.authenticate(bearer, names).await?;
    Ok(principal.name().to_string())
}

#[test]
fn nothing_to_prove() {
    let clock = Arc::new(ShiftedClock::default());
    assert!(
        Authenticator::new(&AuthConfig::default(), clock, &Supervisor::default())
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn the_token_decides() {
    let issuer = TestIssuer::new();
    let authenticator =
        authenticator(&AuthConfig { certificates: certificates(), ..issuer.config() });
    let alice = issuer.user("alice", Some("phone"), &["device", "inviter"]);
    let backend = issuer.service("other-backend", &["backend"]);
    let forged = TestIssuer::new().user("alice", Some("phone"), &["device"]);
    let (no_credentials, unmapped) =
        (AuthenticationError::NoCredentials, AuthenticationError::UnmappedCertificate);
    let wrong = AuthenticationError::Token(TokenError::WrongSignature);
    for (token, uri, expected) in [
        (None, None, Err(no_credentials)),
        (Some(&alice), None, Ok("alice")),
        (Some(&backend), None, Ok("service:other-backend")),
        (None, Some(CHAT), Ok("service:spiffe://example.org/chat")),
        (None, Some("spiffe://example.org/other"), Err(unmapped)),
        (Some(&alice), Some(CHAT), Ok("alice")),
        (Some(&alice), Some("spiffe://example.org/other"), Ok("alice")),
        (Some(&forged), None, Err(wrong.clone())),
        (Some(&forged), Some(CHAT), Err(wrong)),
    ] {
        let found = name(&authenticator, token.map(String::as_str), uri).await;
        assert_eq!(found, expected.map(str::to_owned), "{token:?} {uri:?}");
    }
    let empty = name(&authenticator, Some(""), Some(CHAT)).await;
    assert_eq!(empty, Err(TokenError::Malformed.into()));
}

#[tokio::test]
async fn a_certificate_holds_no_grant() {
    let bob = Target { user: UserId::new("bob").unwrap(), device: None, excluded: Vec::new() };
    for grants in [false, true] {
        let mut config = AuthConfig { certificates: certificates(), ..TestIssuer::new().config() };
        if let Some(tokens) = &mut config.tokens {
            tokens.grant_claim = grants.then(|| "grant".to_owned());
        }
        for role in [Role::Inviter, Role::Backend] {
            config.certificates[0].roles = vec![role];
            let uris = [CHAT.to_owned()];
            let names = CertificateNames { uris: &uris, dns_names: &[] };
            let chat = authenticator(&config).authenticate(None, Some(names)).await.unwrap();
            let target = Subject::Target(&bob);
            let allowed = authorize(&chat, Method::ReserveKeyPackages, target).is_ok();
            assert_eq!(allowed, !grants || role == Role::Backend, "{grants} {role}");
        }
    }
}

#[tokio::test]
async fn a_token_where_none_is_expected_is_not_ignored() {
    let authenticator = authenticator(&AuthConfig { tokens: None, certificates: certificates() });
    assert!(name(&authenticator, None, Some(CHAT)).await.is_ok());
    let alice = TestIssuer::new().user("alice", None, &["inviter"]);
    let refused = name(&authenticator, Some(&alice), Some(CHAT)).await;
    assert_eq!(refused, Err(TokenError::NotAccepted.into()));
}

#[tokio::test]
async fn keys_that_are_not_there_yet_are_not_the_tokens_fault() {
    let issuer = TestIssuer::new();
    let mut config = AuthConfig { certificates: certificates(), ..issuer.config() };
    config.tokens.as_mut().unwrap().jwks = JwksLocation::File("/nowhere".into());
    let authenticator = authenticator(&config);
    let alice = issuer.user("alice", None, &["inviter"]);
    let refused = name(&authenticator, Some(&alice), None).await;
    assert_eq!(refused, Err(AuthenticationError::KeysUnavailable));
    assert!(name(&authenticator, None, Some(CHAT)).await.is_ok());
}

#[tokio::test]
async fn results_are_counted() {
    let recorder = crate::admin::recorder().unwrap();
    let issuer = TestIssuer::new();
    let authenticator = authenticator(&issuer.config());
    let bob = issuer.user("bob", Some("phone"), &["device"]);
    name(&authenticator, Some(&bob), None).await.unwrap();
    name(&authenticator, Some("bob"), None).await.unwrap_err();
    let text = recorder.render();
    for counted in [
        r#"keypool_authentications_total{kind="token",result="ok"}"#,
        r#"keypool_authentications_total{kind="token",result="malformed"}"#,
        r#"keypool_jwks_refreshes_total{result="ok"}"#,
    ] {
        assert!(text.contains(counted), "{text}");
    }
    assert!(!text.contains("bob"), "{text}");
}
