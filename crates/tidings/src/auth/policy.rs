//! The policy that `[auth]` sets: keys, patterns and the check of a credential. A reload replaces it as a whole.

use std::{collections::HashMap, sync::Arc};

use sha2::{Digest, Sha256};
use tidings_protocol::Subscription;

use super::credential::CredentialError;
use super::hook::HookClient;
use super::identity::{AuthMethod, Principal};
use super::jwks::Jwks;
use super::permissions::{self, ChannelScope, Permissions};
use super::revocations::Revocations;
use super::token::{self, Claims, KeyFingerprint, Token, VerificationKey, from_jwks};
use crate::config::{Algorithm, AuthSettings, KeySettings, Right};
use crate::error::{Code, Error};
use crate::metrics::Metrics;

/// Parsed `[auth]` settings.
pub(super) struct Policy {
    pub(super) settings: AuthSettings,
    static_keys: Vec<VerificationKey>,
    pub(super) jwks: Option<Arc<ProviderKeys>>,
    anonymous: Permissions,
    api_keys: HashMap<[u8; 32], ApiKey>,
    pub(super) hook: Option<Arc<HookClient>>,
}

/// Keys of the identity provider.
pub(super) type ProviderKeys = Jwks<Vec<VerificationKey>>;

struct ApiKey {
    name: Arc<str>,
    permissions: Permissions,
}

/// Returns the hash that stands for a secret in tables.
///
/// API keys and tickets are random, so a slow hash would gain nothing. The timing of a lookup reveals at most a hash.
pub(super) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

impl Policy {
    /// Reads the settings and the key file. Keeps the provider keys of `before` if `auth.jwks_url` is the same.
    ///
    /// # Errors
    /// The invalid setting, by its name.
    pub(super) fn read(
        settings: &AuthSettings,
        before: Option<&Self>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Error> {
        let invalid = |reason: String| Error::new(Code::BadRequest, reason);
        let static_keys = token::read_static_keys(settings).map_err(invalid)?;
        let subscribe = permissions::patterns(&settings.anonymous_subscribe)
            .map_err(|reason| invalid(format!("auth.anonymous.subscribe: {reason}")))?;
        let mut api_keys = HashMap::new();
        for key in &settings.keys {
            let hash = key.digest().ok_or_else(|| {
                invalid(format!(
                    "auth.keys: the hash of {:?} is not sha256: and 64 hexadecimal digits",
                    key.name
                ))
            })?;
            let permissions = key_permissions(key)
                .map_err(|reason| invalid(format!("auth.keys: the key {:?}: {reason}", key.name)))?;
            api_keys.insert(hash, ApiKey { name: key.name.as_str().into(), permissions });
        }
        let before = before.filter(|before| before.settings.jwks_url == settings.jwks_url);
        let jwks = match (before.and_then(|before| before.jwks.clone()), &settings.jwks_url) {
            (None, Some(url)) => {
                let jwks = Jwks::new(url, from_jwks, metrics.clone());
                Some(Arc::new(jwks.map_err(|reason| invalid(format!("auth.jwks_url {reason}")))?))
            }
            (kept, _) => kept,
        };
        let hook = settings.hook.as_ref().map(|url| HookClient::http(url, settings, metrics.clone()));
        let hook = hook.transpose().map_err(|reason| invalid(format!("auth.hook {reason}")))?.map(Arc::new);
        Ok(Self {
            anonymous: Permissions { subscribe: ChannelScope::Patterns(subscribe), ..Permissions::NOTHING },
            settings: settings.clone(),
            static_keys,
            jwks,
            api_keys,
            hook,
        })
    }

    /// Finds the API key of this secret.
    pub(super) fn api_key(&self, secret: &str) -> Result<(Principal, AuthMethod), CredentialError> {
        let hash = hash(secret);
        let key = self.api_keys.get(&hash).ok_or(CredentialError::ApiKey)?;
        Ok((Principal::Key(key.name.clone()), AuthMethod::Key(hash)))
    }

    /// Verifies the signature of a token and reads its claims.
    ///
    /// # Errors
    /// The reason against the token, or the missing keys of the identity provider.
    pub(super) async fn token(&self, text: &str) -> Result<(Principal, AuthMethod), AuthenticationError> {
        let token = Token::parse(text)?;
        if !self.accepts(token.algorithm) {
            return Err(CredentialError::Algorithm.into());
        }
        let key = match self.static_keys.iter().find(|key| token.is_signed_by(key)) {
            Some(key) => key.fingerprint(),
            None => self.provider_key(&token).await?,
        };
        let claims = token.claims(&self.settings.user_claim)?;
        let principal = Principal::User(claims.user.as_str().into());
        Ok((principal, AuthMethod::Token { claims: Box::new(claims), algorithm: token.algorithm, key }))
    }

    /// Finds the provider's key that signed the token. If no key has its id, waits for the next fetch: a provider signs with
    /// a new key before the hub has it.
    async fn provider_key(&self, token: &Token<'_>) -> Result<KeyFingerprint, AuthenticationError> {
        let can_be_static = self.static_keys.iter().any(|key| key.can(token.algorithm));
        let none = if can_be_static { CredentialError::Signature } else { CredentialError::UnknownKey };
        // The provider's keys are public, so they never verify a symmetric signature.
        let Some(jwks) = self.jwks.as_ref().filter(|_| !token.algorithm.is_symmetric()) else {
            return Err(none.into());
        };
        let signer = |keys: &[VerificationKey]| {
            keys.iter().find(|key| token.is_signed_by(key)).map(VerificationKey::fingerprint)
        };
        let keys = jwks.keys().await?;
        if let Some(fingerprint) = signer(&keys) {
            return Ok(fingerprint);
        }
        let id = token.key_id.as_deref();
        if id.is_some() && keys.iter().any(|key| key.id() == id) {
            return Err(CredentialError::Signature.into());
        }
        let found = jwks.look_up(|keys: &Vec<VerificationKey>| signer(keys)).await?;
        found.ok_or_else(|| CredentialError::UnknownKey.into())
    }

    fn accepts(&self, algorithm: Algorithm) -> bool {
        let listed = &self.settings.algorithms;
        listed.is_empty() || listed.contains(&algorithm)
    }

    /// Checks that an authentication still holds: at authentication, and again while a stream is open.
    ///
    /// # Errors
    /// The reason why the credential is no longer accepted.
    pub(super) fn check(
        &self,
        method: &AuthMethod,
        revocations: &Revocations,
        now: f64,
    ) -> Result<(), CredentialError> {
        match method {
            AuthMethod::Process | AuthMethod::OpenHub | AuthMethod::Anonymous => Ok(()),
            AuthMethod::Key(hash) => self.api_keys.get(hash).map(|_| ()).ok_or(CredentialError::ApiKey),
            AuthMethod::Token { claims, algorithm, key } => {
                if !self.accepts(*algorithm) || !self.has(*key) {
                    return Err(CredentialError::UnknownKey);
                }
                self.check_claims(claims, now)?;
                if revocations.covers(claims, now) { Err(CredentialError::Revoked) } else { Ok(()) }
            }
            AuthMethod::Ticket { issuer, .. } => self.check(&issuer.method, revocations, now),
        }
    }

    /// Returns the permissions of an authentication that holds.
    pub(super) fn permissions(&self, method: &AuthMethod) -> Permissions {
        match method {
            AuthMethod::Process | AuthMethod::OpenHub => Permissions::EVERYTHING,
            AuthMethod::Anonymous => self.anonymous.clone(),
            AuthMethod::Key(hash) => {
                self.api_keys.get(hash).map_or(Permissions::NOTHING, |key| key.permissions.clone())
            }
            AuthMethod::Token { claims, .. } => self.user_permissions(claims),
            AuthMethod::Ticket { issuer, .. } => self.permissions(&issuer.method),
        }
    }

    fn has(&self, fingerprint: KeyFingerprint) -> bool {
        let is_static = self.static_keys.iter().any(|key| key.fingerprint() == fingerprint);
        is_static
            || self
                .jwks
                .as_ref()
                .and_then(|jwks| jwks.newest())
                .is_some_and(|keys| keys.iter().any(|key| key.fingerprint() == fingerprint))
    }

    fn check_claims(&self, claims: &Claims, now: f64) -> Result<(), CredentialError> {
        let leeway = self.settings.leeway.as_secs_f64();
        let age_max = self.settings.token_max_age.as_secs_f64() + leeway;
        let listed = |allowed: &[String], claimed: &[String]| {
            allowed.is_empty() || claimed.iter().any(|value| allowed.contains(value))
        };
        let issuer: Vec<String> = claims.issuer.iter().cloned().collect();
        match () {
            () if !listed(&self.settings.audience, &claims.audience) => Err(CredentialError::Audience),
            () if !listed(&self.settings.issuer, &issuer) => Err(CredentialError::Issuer),
            () if claims.expires_at + leeway <= now => Err(CredentialError::Expired),
            () if claims.not_before.is_some_and(|at| at > now + leeway) => Err(CredentialError::NotYet),
            () if claims.issued_at.is_some_and(|at| at > now + leeway) => Err(CredentialError::NotYet),
            // A revocation without `until` lasts as long as the longest token.
            () if claims.expires_at - claims.issued_at.unwrap_or(now) > age_max => {
                Err(CredentialError::TooLong)
            }
            () if claims.expires_at - now > age_max => Err(CredentialError::TooLong),
            () => Ok(()),
        }
    }

    fn user_permissions(&self, claims: &Claims) -> Permissions {
        let mut subscribe: Vec<Subscription> =
            permissions::of_user(&self.settings.user_subscribe, &claims.user);
        subscribe.extend_from_slice(&claims.subscribe);
        Permissions {
            subscribe: ChannelScope::Patterns(subscribe),
            publish: ChannelScope::Patterns(claims.publish.clone()),
            manage: false,
        }
    }
}

/// Reason why a credential is not accepted.
pub(super) enum AuthenticationError {
    Credential(CredentialError),
    /// The credential cannot be checked: the identity provider or Redis does not answer.
    Unavailable(Error),
}

impl From<CredentialError> for AuthenticationError {
    fn from(credential_error: CredentialError) -> Self {
        Self::Credential(credential_error)
    }
}

impl From<Error> for AuthenticationError {
    fn from(error: Error) -> Self {
        Self::Unavailable(error)
    }
}

/// Returns the permissions of an API key. A right needs its patterns, and patterns need their right.
fn key_permissions(key: &KeySettings) -> Result<Permissions, String> {
    let scope = |right: Right, texts: &[String]| {
        let patterns = permissions::patterns(texts)?;
        Ok::<_, String>(ChannelScope::Patterns(if key.rights.contains(&right) {
            patterns
        } else {
            Vec::new()
        }))
    };
    Ok(Permissions {
        subscribe: scope(Right::Subscribe, &key.subscribe)?,
        publish: scope(Right::Publish, &key.publish)?,
        manage: key.rights.contains(&Right::Manage),
    })
}
