use super::{Signer, Verifier, claims, claims_with, claims_without, jwks, now};
use crate::{
    auth::{InvalidGrant, InvalidPrincipal, TokenError, token::VerificationError},
    types::InvalidId,
};
use jiff::SignedDuration;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

/// The header `{"alg":"none"}`.
const NONE: &str = "eyJhbGciOiJub25lIn0";

struct Issuer {
    rsa: Signer,
    ec: Signer,
    ed: Signer,
}

impl Issuer {
    fn new() -> Self {
        Self { rsa: Signer::rsa("rsa"), ec: Signer::ec("ec"), ed: Signer::ed("ed") }
    }

    fn verifier(&self) -> Verifier {
        Verifier::new(&[&self.rsa, &self.ec, &self.ed])
    }
}

async fn refuse(verifier: &Verifier, token: &str, error: TokenError, what: &str) {
    let refused = Err(VerificationError::Token(error));
    // Twice: what was refused is not remembered as good.
    assert_eq!(verifier.tokens.verify(token).await, refused, "{what}");
    assert_eq!(verifier.tokens.verify(token).await, refused, "{what}");
}

#[tokio::test]
async fn forged_signatures() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let good = issuer.ec.sign(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let other = issuer.ec.sign(&claims_with(json!({ "sub": "bob" })));
    let (header, other_payload) = (parts[0], other.split('.').nth(1).unwrap());

    let of_stranger = Signer::ec("ec").sign(&claims());
    let of_rsa = |alg, kid: &str| {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(alg) };
        issuer.rsa.sign_with(&header, &claims())
    };
    let by_public_key = |kid: &str, public: &str| {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::HS256) };
        let secret = EncodingKey::from_secret(public.as_bytes());
        jsonwebtoken::encode(&header, &claims(), &secret).unwrap()
    };
    let carries_its_key = {
        let stranger = Signer::ec("ec");
        let jwk = serde_json::from_value(stranger.jwk()).unwrap();
        stranger.sign_with(&Header { jwk: Some(jwk), ..stranger.header() }, &claims())
    };
    let n = issuer.rsa.jwk()["n"].as_str().unwrap().to_owned();

    for (what, token, error) in [
        ("no signature", format!("{header}.{}.", parts[1]), TokenError::WrongSignature),
        (
            "other claims",
            format!("{header}.{other_payload}.{}", parts[2]),
            TokenError::WrongSignature,
        ),
        ("a stranger's key", of_stranger, TokenError::WrongSignature),
        ("a stranger's key in the header", carries_its_key, TokenError::WrongSignature),
        ("alg none", format!("{NONE}.{}.", parts[1]), TokenError::Malformed),
        ("alg none, signed", format!("{NONE}.{}.{}", parts[1], parts[2]), TokenError::Malformed),
        ("a public key as secret", by_public_key("rsa", &n), TokenError::WrongAlgorithm),
        ("a set as secret", by_public_key("ec", &jwks(&[&issuer.ec])), TokenError::WrongAlgorithm),
        ("an EC key's name", of_rsa(Algorithm::RS256, "ec"), TokenError::WrongAlgorithm),
        ("an Ed25519 key's name", of_rsa(Algorithm::RS256, "ed"), TokenError::WrongAlgorithm),
        ("another hash", of_rsa(Algorithm::RS512, "rsa"), TokenError::WrongAlgorithm),
        ("another padding", of_rsa(Algorithm::PS256, "rsa"), TokenError::WrongAlgorithm),
    ] {
        refuse(&verifier, &token, error, what).await;
    }
}

#[tokio::test]
async fn headers() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let with = |header: Header| issuer.ec.sign_with(&header, &claims());
    let good = issuer.ec.header();
    for (what, header, error) in [
        (
            "crit",
            Header { crit: Some(vec!["b64".to_owned()]), ..good.clone() },
            TokenError::CriticalExtension,
        ),
        (
            "empty crit",
            Header { crit: Some(vec![]), ..good.clone() },
            TokenError::CriticalExtension,
        ),
        ("no kid", Header { kid: None, ..good.clone() }, TokenError::NoKeyId),
        ("an unknown kid", Header { kid: Some("x".to_owned()), ..good }, TokenError::UnknownKey),
    ] {
        refuse(&verifier, &with(header), error, what).await;
    }
}

#[tokio::test]
async fn what_is_no_token() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let good = issuer.ec.sign(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let long = issuer.ec.sign(&claims_with(json!({ "more": "x".repeat(8 * 1024) })));
    for (what, token, error) in [
        ("nothing", String::new(), TokenError::Malformed),
        ("two parts", format!("{}.{}", parts[0], parts[1]), TokenError::Malformed),
        ("four parts", format!("{good}.{}", parts[2]), TokenError::Malformed),
        ("spaces", format!("{good} "), TokenError::Malformed),
        ("no base64", "\u{0}.\u{fffd}.%".to_owned(), TokenError::Malformed),
        ("no header", format!(".{}.{}", parts[1], parts[2]), TokenError::Malformed),
        ("an array", issuer.ec.sign(&json!([1])), TokenError::Malformed),
        ("a long token", long, TokenError::TooLong),
        ("a long text", "x".repeat(8 * 1024 + 1), TokenError::TooLong),
    ] {
        refuse(&verifier, &token, error, what).await;
    }
}

#[tokio::test]
async fn claims_of_every_token() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let with = |name: &str, value| claims_with(json!({ name: value }));
    for (claims, error) in [
        (claims_without("exp"), TokenError::NoExpiry),
        (with("exp", json!(null)), TokenError::NoExpiry),
        (with("exp", json!("4000000000")), TokenError::NoExpiry),
        (with("exp", json!(now() - 31)), TokenError::Expired),
        (with("exp", json!(0)), TokenError::Expired),
        (with("exp", json!(-1e300)), TokenError::Expired),
        (with("nbf", json!(now() + 60)), TokenError::NotYetValid),
        (with("nbf", json!(1e300)), TokenError::NotYetValid),
        (with("nbf", json!("0")), TokenError::Malformed),
        (claims_without("iss"), TokenError::WrongIssuer),
        (with("iss", json!("https://issuer.example/")), TokenError::WrongIssuer),
        (with("iss", json!(["https://issuer.example"])), TokenError::WrongIssuer),
        (claims_without("aud"), TokenError::WrongAudience),
        (with("aud", json!("keypool2")), TokenError::WrongAudience),
        (with("aud", json!("a keypool")), TokenError::WrongAudience),
        (with("aud", json!(["a", ["keypool"]])), TokenError::WrongAudience),
        (with("aud", json!({ "keypool": true })), TokenError::WrongAudience),
    ] {
        refuse(&verifier, &issuer.ed.sign(&claims), error, &claims.to_string()).await;
    }
}

#[tokio::test]
async fn claims_about_the_caller() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let with = |name: &str, value| claims_with(json!({ name: value }));
    let service = |sub| claims_with(json!({ "sub": sub, "roles": "backend" }));
    let subject = |error: InvalidId| TokenError::InvalidSubject(error.into());
    for (claims, error) in [
        (claims_without("roles"), TokenError::NoRole),
        (with("roles", json!([])), TokenError::NoRole),
        (with("roles", json!(["root", 1, null])), TokenError::NoRole),
        (with("roles", json!("device,inviter")), TokenError::NoRole),
        (with("roles", json!(["device", "admin"])), TokenError::MixedRoles),
        (with("roles", json!("inviter backend")), TokenError::MixedRoles),
        (claims_without("sub"), TokenError::NoSubject),
        (with("sub", json!(7)), TokenError::NoSubject),
        (with("sub", json!("")), subject(InvalidId::Empty)),
        (with("sub", json!("a\nb")), subject(InvalidId::ControlCharacter)),
        (
            with("sub", json!("service:chat")),
            TokenError::InvalidSubject(InvalidPrincipal::Reserved),
        ),
        (service(json!(null)), TokenError::NoSubject),
        (service(json!("")), subject(InvalidId::Empty)),
        (claims_without("device_id"), TokenError::NoDevice),
        (with("device_id", json!(1)), TokenError::NoDevice),
        (with("device_id", json!("")), TokenError::InvalidDevice(InvalidId::Empty)),
        // Not taken for a token that speaks for all devices.
        (claims_with(json!({ "device_id": null, "roles": ["inviter"] })), TokenError::NoDevice),
    ] {
        refuse(&verifier, &issuer.ed.sign(&claims), error, &claims.to_string()).await;
    }
}

#[tokio::test]
async fn grants() {
    let signer = Signer::ed("ed");
    let verifier =
        Verifier::with(&[&signer], |config| config.grant_claim = Some("grant".to_owned()));
    let claim = |grant| claims_with(json!({ "grant": grant }));
    let everybody = InvalidGrant::Entry { list: "prefixes", error: InvalidId::Empty };
    for (grant, error) in [
        (json!(null), InvalidGrant::Shape),
        (json!(["bob"]), InvalidGrant::Shape),
        (json!({ "users": vec!["bob"; 129] }), InvalidGrant::TooMany(129)),
        (json!({ "prefixes": [""] }), everybody),
    ] {
        let token = signer.sign(&claim(grant.clone()));
        refuse(&verifier, &token, TokenError::InvalidGrant(error), &grant.to_string()).await;
    }
    // Where no claim is configured, one of that name means nothing.
    let without = Verifier::new(&[&signer]);
    assert!(without.tokens.verify(&signer.sign(&claim(json!(null)))).await.is_ok());
}

#[tokio::test]
async fn the_leeway_is_as_configured() {
    let signer = Signer::ed("ed");
    let strict = Verifier::with(&[&signer], |config| config.leeway = SignedDuration::ZERO);
    let ended = claims_with(json!({ "exp": now() - 1 }));
    refuse(&strict, &signer.sign(&ended), TokenError::Expired, "ended").await;
    let to_come = claims_with(json!({ "nbf": now() + 60 }));
    refuse(&strict, &signer.sign(&to_come), TokenError::NotYetValid, "to come").await;
}

#[tokio::test]
async fn another_type_than_the_configuration_demands() {
    let signer = Signer::ec("ec");
    let typed = |typ: Option<&str>| {
        signer.sign_with(&Header { typ: typ.map(str::to_owned), ..signer.header() }, &claims())
    };
    let demanding = Verifier::with(&[&signer], |config| {
        config.typ = Some("at+jwt".to_owned().try_into().unwrap());
    });
    let any = Verifier::new(&[&signer]);
    for typ in [None, Some("JWT"), Some(""), Some("at"), Some("text/at+jwt")] {
        refuse(&demanding, &typed(typ), TokenError::WrongType, &format!("{typ:?}")).await;
        assert!(any.tokens.verify(&typed(typ)).await.is_ok(), "{typ:?}");
    }
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        assert!(demanding.tokens.verify(&typed(Some(typ))).await.is_ok(), "{typ}");
    }
}
