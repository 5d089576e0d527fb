use super::{Signer, jwks};
use crate::auth::{TokenError, token::key_set::KeySet};
use serde_json::{Value, json};

fn read(keys: &[Value]) -> KeySet {
    KeySet::read(json!({ "keys": keys }).to_string().into_bytes()).unwrap()
}

fn with(mut key: Value, name: &str, value: Value) -> Value {
    key[name] = value;
    key
}

#[test]
fn keys_for_other_ends_are_left_out() {
    let (rsa, ec, ed) = (Signer::rsa("a").jwk(), Signer::ec("a").jwk(), Signer::ed("a").jwk());
    for good in [
        rsa.clone(),
        ec.clone(),
        ed.clone(),
        with(rsa.clone(), "use", json!("sig")),
        with(rsa.clone(), "key_ops", json!(["verify"])),
        with(rsa.clone(), "alg", json!("RS256")),
        with(rsa.clone(), "x5t", json!("whatever")),
    ] {
        assert_eq!(read(std::slice::from_ref(&good)).len(), 1, "{good}");
    }
    for left_out in [
        json!({ "kty": "oct", "kid": "a", "k": "c2VjcmV0" }),
        json!({ "kty": "oct", "kid": "a", "k": "c2VjcmV0", "alg": "HS256", "use": "sig" }),
        json!({ "kty": "OKP", "kid": "a", "crv": "X25519", "x": ed["x"] }),
        json!({ "kty": "new", "kid": "a" }),
        json!("a"),
        json!(null),
        Signer::weak_rsa("a").jwk(),
        with(rsa.clone(), "use", json!("enc")),
        with(rsa.clone(), "use", json!("tls")),
        with(rsa.clone(), "key_ops", json!(["encrypt"])),
        with(rsa.clone(), "alg", json!("RS512")),
        with(rsa.clone(), "alg", json!("RSA-OAEP")),
        with(rsa.clone(), "alg", json!("ES256")),
        with(rsa.clone(), "n", json!("")),
        with(rsa.clone(), "n", json!("AAAA")),
        with(rsa.clone(), "n", json!("%")),
        with(rsa, "n", json!("_".repeat(2000))),
        with(ec.clone(), "crv", json!("P-384")),
        with(ec.clone(), "y", ec["x"].clone()),
        with(ec, "alg", json!("HS256")),
        with(ed.clone(), "x", json!("AAAA")),
        with(ed.clone(), "x", json!("")),
        with(ed, "x", json!("_".repeat(64))),
    ] {
        let set = read(std::slice::from_ref(&left_out));
        assert_eq!(set.len(), 0, "{left_out}");
        assert_eq!(set.find(Some("a")).err(), Some(TokenError::UnknownKey));
        assert_eq!(set.find(None).err(), Some(TokenError::UnknownKey));
    }
}

#[test]
fn keys_that_are_left_out_need_no_name() {
    let oct = json!({ "kty": "oct", "k": "c2VjcmV0" });
    let set = read(&[oct, Signer::weak_rsa("weak").jwk(), Signer::ec("ec").jwk()]);
    assert!(set.find(None).is_ok() && set.find(Some("ec")).is_ok());
    let set = read(&[Signer::ed("ed").jwk(), Signer::ec("ec").jwk()]);
    assert_eq!(set.find(None).err(), Some(TokenError::NoKeyId));
}

#[test]
fn what_is_no_set() {
    for document in ["", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": []"#, "\u{0}"] {
        let error = KeySet::read(document.into()).unwrap_err().to_string();
        assert!(error.contains("not a JSON Web Key Set"), "{error}");
    }
    let signer = Signer::ed("a");
    assert_eq!(KeySet::read(jwks(&vec![&signer; 100]).into()).unwrap().len(), 100);
    let error = KeySet::read(jwks(&vec![&signer; 101]).into()).unwrap_err().to_string();
    assert!(error.contains("more than 100"), "{error}");
}

#[test]
fn odd_rsa_keys_verify_nothing() {
    let good = Signer::rsa("a").jwk();
    let n = good["n"].as_str().unwrap();
    // Another last digit makes it even.
    let even = format!("{}A", &n[..n.len() - 1]);
    let odd_ones = ["", "AA", "AQ", "Ag", "AQAA", n].map(|e| with(good.clone(), "e", json!(e)));
    for key in odd_ones.into_iter().chain([with(good.clone(), "n", json!(even))]) {
        let set = read(std::slice::from_ref(&key));
        let Ok(found) = set.find(Some("a")) else { continue };
        let signature = "A".repeat(341) + "E";
        let verified =
            jsonwebtoken::crypto::verify(&signature, b"", &found.decoding, found.algorithm);
        assert!(!verified.unwrap_or_default(), "{key}");
    }
}
