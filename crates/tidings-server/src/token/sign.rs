//! Signs claims as a compact JWS.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use tidings::config::{Algorithm, Secret};

/// Returns the token of these claims, a JSON object as text. Source: RFC 7515, 3.1 and 5.1.
///
/// # Panics
/// With an asymmetric algorithm.
pub(super) fn sign(algorithm: Algorithm, secret: &Secret, claims: &str) -> String {
    let header = format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hash_of(algorithm), secret.reveal().as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn hash_of(algorithm: Algorithm) -> hmac::Algorithm {
    match algorithm {
        Algorithm::Hs256 => hmac::HMAC_SHA256,
        Algorithm::Hs384 => hmac::HMAC_SHA384,
        Algorithm::Hs512 => hmac::HMAC_SHA512,
        _ => unreachable!("only a symmetric algorithm signs with a secret"),
    }
}

#[cfg(test)]
mod tests;
