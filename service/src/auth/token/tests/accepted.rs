use super::{Signer, Verifier, claims, claims_with, claims_without, now};
use crate::{
    auth::{Principal, Role, Roles, TokenError, token::VerificationError},
    config::{Audience, TokensConfig},
};
use serde_json::{Value, json};

async fn verify(
    claims: &Value,
    configure: impl FnOnce(&mut TokensConfig),
) -> Result<Principal, VerificationError> {
    let signer = Signer::ec("a");
    Verifier::with(&[&signer], configure).tokens.verify(&signer.sign(claims)).await
}

#[tokio::test]
async fn the_three_algorithms() {
    let signers = [Signer::rsa("rsa"), Signer::ec("ec"), Signer::ed("ed")];
    let verifier = Verifier::new(&[&signers[0], &signers[1], &signers[2]]);
    for signer in &signers {
        // Once by the signature, and once by memory.
        for _ in 0..2 {
            let alice = verifier.tokens.verify(&signer.sign(&claims())).await.unwrap();
            assert_eq!(alice.name().as_str(), "alice");
            assert_eq!(alice.user_id().unwrap().as_str(), "alice");
            assert_eq!(alice.device_id().unwrap().as_str(), "phone");
            assert_eq!(alice.roles(), Roles::from_iter([Role::Device, Role::Inviter]));
        }
    }
}

#[tokio::test]
async fn the_only_key_needs_no_name() {
    let signer = Signer::ed("named");
    let verifier = Verifier::new(&[&signer]);
    let token = signer.nameless().sign(&claims());
    assert!(verifier.tokens.verify(&token).await.is_ok());
}

#[tokio::test]
async fn tokens_of_services() {
    let claims = claims_with(json!({ "sub": "chat", "roles": ["backend", "admin"] }));
    let chat = verify(&claims, |_| {}).await.unwrap();
    assert_eq!(chat.name().as_str(), "service:chat");
    assert_eq!((chat.user_id(), chat.device_id()), (None, None));
    assert_eq!(chat.roles(), Roles::from_iter([Role::Backend, Role::Admin]));
    // It is named by `sub`, whatever users are named by.
    let named = verify(&claims, |config| config.user_claim = "email".to_owned()).await.unwrap();
    assert_eq!(named.name().as_str(), "service:chat");
}

#[tokio::test]
async fn other_claims() {
    let claims = claims_with(json!({
        "email": "alice@example.org",
        "phone": "a phone",
        "scope": "openid keypool-device profile",
    }));
    let alice = verify(&claims, |config| {
        config.user_claim = "email".to_owned();
        config.device_claim = "phone".to_owned();
        config.roles_claim = "scope".to_owned();
        config.roles = [("keypool-device".to_owned(), Role::Device)].into();
    })
    .await
    .unwrap();
    assert_eq!(alice.name().as_str(), "alice@example.org");
    assert_eq!(alice.device_id().unwrap().as_str(), "a phone");
    assert_eq!(alice.roles(), Roles::from_iter([Role::Device]));
}

#[tokio::test]
async fn users_without_a_device() {
    let no_device = claims_without("device_id");
    let refused = VerificationError::Token(TokenError::NoDevice);
    assert_eq!(verify(&no_device, |_| {}).await, Err(refused));
    // Where tokens speak for all devices, even one that happens to name one.
    for claims in [&no_device, &claims()] {
        let alice = verify(claims, |config| config.device_claim.clear()).await.unwrap();
        assert_eq!(alice.device_id(), None);
    }
    let mut inviter = no_device;
    inviter["roles"] = json!(["inviter"]);
    assert_eq!(verify(&inviter, |_| {}).await.unwrap().device_id(), None);
}

#[tokio::test]
async fn audiences_and_times_that_will_do() {
    let two = Audience::Several(vec!["pool".to_owned(), "keypool".to_owned()]);
    for other in [
        json!({ "aud": ["elsewhere", "keypool"] }),
        json!({ "aud": "pool" }),
        json!({ "exp": now() as f64 + 0.5 }),
        json!({ "exp": now() - 20 }),
        json!({ "exp": 1e300 }),
        json!({ "exp": u64::MAX }),
        json!({ "nbf": now() + 20 }),
        json!({ "nbf": -1e300 }),
    ] {
        let claims = claims_with(other);
        let verified = verify(&claims, |config| config.audience = two.clone()).await;
        assert!(verified.is_ok(), "{claims}");
    }
}
