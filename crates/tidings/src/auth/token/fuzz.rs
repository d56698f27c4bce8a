//! Hooks for fuzzing: tokens and keys.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::keys::{VerificationKey, from_jwks, from_pem};
use super::{Claims, PATTERNS_MAX, Token};
use crate::config::Secret;

/// Reads a text as a token; and a header and claims as one that is signed by anything.
///
/// # Panics
/// If a signature verifies under a key that did not sign, or claims exceed their bounds.
pub fn jwt(text: &str, header: &str, claims: &str) {
    let key = VerificationKey::of_secret(&Secret::new("not the key that signed"));
    let parts = [header, claims, "signature"].map(|part| URL_SAFE_NO_PAD.encode(part));
    for text in [text, &parts.join(".")] {
        let Ok(token) = Token::parse(text) else { continue };
        assert!(!token.is_signed_by(&key));
        for user_claim in ["sub", "email"] {
            token.claims(user_claim).iter().for_each(is_bounded);
        }
    }
}

fn is_bounded(claims: &Claims) {
    assert!((1..=250).contains(&claims.user.len()) && !claims.user.contains('\0'));
    let times = [Some(claims.expires_at), claims.not_before, claims.issued_at];
    assert!(times.into_iter().flatten().all(f64::is_finite));
    assert!(claims.subscribe.len() <= PATTERNS_MAX && claims.publish.len() <= PATTERNS_MAX);
}

/// Reads a text as a JWKS and as a PEM file, and holds a token against each key.
///
/// # Panics
/// If a signature of another key verifies.
pub fn jwks(text: &[u8], token: &str) {
    let keys = [from_jwks(text), from_pem(text)].into_iter().flatten().flatten();
    let token = Token::parse(token).ok();
    for key in keys {
        let _ = key.fingerprint();
        if let Some(token) = &token {
            assert!(!token.is_signed_by(&key) || token.signature.len() >= 64);
        }
    }
}
