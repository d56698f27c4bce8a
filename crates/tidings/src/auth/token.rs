//! JWTs: parsing, and the claims of a token whose signature is verified. RFC 7515, 7519, 8725.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod keys;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};
use tidings_protocol::Subscription;

pub(super) use self::keys::{KeyFingerprint, VerificationKey, from_jwks};
use super::credential::CredentialError;
use crate::config::{Algorithm, AuthSettings, bounds::user_name_fault};

/// Longest token. Tokens of identity providers that list groups stay below it.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Patterns of one kind in one token.
const PATTERNS_MAX: usize = 1_000;

/// Parts of a token, not verified yet.
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    signed: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

/// Claims of a token whose signature is verified.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claims {
    pub(crate) user: String,
    /// Seconds since 1970, as all times of a token.
    pub(crate) expires_at: f64,
    pub(crate) not_before: Option<f64>,
    pub(crate) issued_at: Option<f64>,
    pub(crate) token_id: Option<String>,
    pub(crate) audience: Vec<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) subscribe: Vec<Subscription>,
    pub(crate) publish: Vec<Subscription>,
}

/// Reads the keys of `auth.secret` and `auth.key_file`.
///
/// # Errors
/// The problem of the key file.
pub(super) fn read_static_keys(settings: &AuthSettings) -> Result<Vec<VerificationKey>, String> {
    let mut found: Vec<VerificationKey> = settings.secret.iter().map(VerificationKey::of_secret).collect();
    if let Some(path) = &settings.key_file {
        let failed = |reason: String| format!("auth.key_file {}: {reason}", path.display());
        let text = std::fs::read(path).map_err(|error| failed(format!("it cannot be read: {error}")))?;
        found.extend(keys::from_pem(&text).map_err(failed)?);
    }
    Ok(found)
}

impl<'a> Token<'a> {
    /// Parses a token.
    pub(super) fn parse(text: &'a str) -> Result<Self, CredentialError> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            kid: Option<String>,
            crit: Option<Value>,
        }
        if text.len() > TOKEN_BYTES_MAX {
            return Err(CredentialError::Shape);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(CredentialError::Shape)?;
        let (header, claims) = signed.split_once('.').ok_or(CredentialError::Shape)?;
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| CredentialError::Shape)?;
        let header: Header = serde_json::from_slice(&header).map_err(|_| CredentialError::Shape)?;
        if header.crit.is_some() {
            // An unknown critical extension makes the token invalid. RFC 7515, 4.1.11.
            return Err(CredentialError::Shape);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| CredentialError::Shape)?;
        let algorithm = header.alg.parse().map_err(|_| CredentialError::Algorithm)?;
        Ok(Self { algorithm, key_id: header.kid, signed, claims, signature })
    }

    /// Whether the key has the token's key id and algorithm.
    pub(super) fn may_be_of(&self, key: &VerificationKey) -> bool {
        let is_named = match (key.id(), self.key_id.as_deref()) {
            (Some(id), Some(key_id)) => id == key_id,
            _ => true,
        };
        is_named && key.can(self.algorithm)
    }

    /// Whether the signature is valid under the key.
    pub(super) fn is_signed_by(&self, key: &VerificationKey) -> bool {
        self.may_be_of(key) && key.verifies(self.algorithm, self.signed.as_bytes(), &self.signature)
    }

    /// Reads the claims. The caller has verified the signature.
    pub(super) fn claims(&self, user_claim: &str) -> Result<Claims, CredentialError> {
        let text = URL_SAFE_NO_PAD.decode(self.claims).map_err(|_| CredentialError::Shape)?;
        let claims: Map<String, Value> = serde_json::from_slice(&text).map_err(|_| CredentialError::Shape)?;
        let ours = claims.get("tidings");
        Ok(Claims {
            user: user(claims.get(user_claim)).ok_or(CredentialError::Shape)?,
            expires_at: time(&claims, "exp")?.ok_or(CredentialError::Shape)?,
            not_before: time(&claims, "nbf")?,
            issued_at: time(&claims, "iat")?,
            token_id: text_of(claims.get("jti"))?,
            audience: texts(claims.get("aud"))?,
            issuer: text_of(claims.get("iss"))?,
            subscribe: patterns(ours.and_then(|ours| ours.get("subscribe")))?,
            publish: patterns(ours.and_then(|ours| ours.get("publish")))?,
        })
    }
}

/// Returns the user's name: text, or an integer, which many databases use.
fn user(claim: Option<&Value>) -> Option<String> {
    let name = match claim? {
        Value::String(name) => name.clone(),
        Value::Number(number) if number.is_u64() || number.is_i64() => number.to_string(),
        _ => return None,
    };
    user_name_fault(&name).is_none().then_some(name)
}

fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, CredentialError> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().filter(|at| at.is_finite()).map(Some).ok_or(CredentialError::Shape),
    }
}

fn text_of(claim: Option<&Value>) -> Result<Option<String>, CredentialError> {
    match claim {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(CredentialError::Shape),
    }
}

fn texts(claim: Option<&Value>) -> Result<Vec<String>, CredentialError> {
    match claim {
        Some(Value::Array(values)) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned).ok_or(CredentialError::Shape))
            .collect(),
        other => Ok(text_of(other)?.into_iter().collect()),
    }
}

/// Reads patterns. An invalid pattern grants nothing; the others still do.
fn patterns(claim: Option<&Value>) -> Result<Vec<Subscription>, CredentialError> {
    let patterns = texts(claim)?;
    if patterns.len() > PATTERNS_MAX {
        return Err(CredentialError::Shape);
    }
    Ok(patterns.iter().filter_map(|pattern| Subscription::parse(pattern).ok()).collect())
}

#[cfg(test)]
mod tests;
