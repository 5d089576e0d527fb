use super::{Signer, Verifier, claims_with, now};
use crate::auth::{TokenError, token::VerificationError};
use jiff::SignedDuration;
use serde_json::json;

#[tokio::test]
async fn a_known_token_is_not_verified_again() {
    let signer = Signer::ec("a");
    let verifier = Verifier::new(&[&signer]);
    let [known, other] = ["alice", "bob"]
        .map(|user| signer.sign(&claims_with(json!({ "sub": user, "nbf": now() }))));
    assert!(verifier.tokens.verify(&known).await.is_ok());
    // Now neither would be valid.
    verifier.clock.advance(SignedDuration::from_secs(-600));
    assert!(verifier.tokens.verify(&known).await.is_ok());
    let early = Err(VerificationError::Token(TokenError::NotYetValid));
    assert_eq!(verifier.tokens.verify(&other).await, early);
}

#[tokio::test]
async fn a_known_token_ends_when_it_expires() {
    let signer = Signer::ec("a");
    let verifier = Verifier::new(&[&signer]);
    let token = signer.sign(&claims_with(json!({ "exp": now() + 600 })));
    assert!(verifier.tokens.verify(&token).await.is_ok());
    verifier.clock.advance(SignedDuration::from_secs(600));
    assert!(verifier.tokens.verify(&token).await.is_ok(), "within the leeway");
    verifier.clock.advance(SignedDuration::from_secs(30));
    let expired = Err(VerificationError::Token(TokenError::Expired));
    assert_eq!(verifier.tokens.verify(&token).await, expired);
}
