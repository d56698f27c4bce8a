//! What `[auth]` says, read: keys, patterns, and the judgement of a credential. Replaced as a whole when it is read again.

use std::{collections::HashMap, sync::Arc};

use sha2::{Digest, Sha256};
use tidings_protocol::Subscription;

use super::{
    CredentialError,
    hook::HookClient,
    identity::{AuthMethod, Principal},
    jwks::Jwks,
    permissions::{self, ChannelScope, Permissions},
    revocations::Revocations,
    token::{self, Claims, KeyFingerprint, Token, VerificationKey, from_jwks},
};
use crate::{
    config::{Algorithm, AuthSettings, KeySettings, Right},
    error::{Code, Error},
    metrics::Metrics,
};

/// Everything of `[auth]` that is asked while the hub runs.
pub(super) struct Policy {
    pub(super) settings: AuthSettings,
    keys_at_hand: Vec<VerificationKey>,
    pub(super) jwks: Option<Arc<ProviderKeys>>,
    anonymous: Permissions,
    api_keys: HashMap<[u8; 32], ApiKey>,
    pub(super) hook: Option<Arc<HookClient>>,
}

/// The keys of an identity provider.
pub(super) type ProviderKeys = Jwks<Vec<VerificationKey>>;

struct ApiKey {
    name: Arc<str>,
    permissions: Permissions,
}

/// The hash by which an API key is known. It is random, so a slow hash would buy nothing, and a table of hashes tells by
/// its timing no more than a hash.
pub(super) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

impl Policy {
    /// Reads the settings and the key file. What `before` fetched from the same address is kept.
    ///
    /// # Errors
    /// What is wrong, with the name of the setting.
    pub(super) fn read(
        settings: &AuthSettings,
        before: Option<&Self>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Error> {
        let fault = |why: String| Error::new(Code::BadRequest, why);
        let keys_at_hand = token::static_keys(settings).map_err(fault)?;
        let subscribe = permissions::patterns(&settings.anonymous_subscribe)
            .map_err(|why| fault(format!("auth.anonymous.subscribe: {why}")))?;
        let mut api_keys = HashMap::new();
        for key in &settings.keys {
            let hash = key.digest().ok_or_else(|| {
                fault(format!(
                    "auth.keys: the hash of {:?} is not sha256: and 64 hexadecimal digits",
                    key.name
                ))
            })?;
            let permissions =
                rights_of(key).map_err(|why| fault(format!("auth.keys: the key {:?}: {why}", key.name)))?;
            api_keys.insert(hash, ApiKey { name: key.name.as_str().into(), permissions });
        }
        let before = before.filter(|before| before.settings.jwks_url == settings.jwks_url);
        let jwks = match (before.and_then(|before| before.jwks.clone()), &settings.jwks_url) {
            (None, Some(url)) => {
                let jwks = Jwks::new(url, from_jwks, metrics.clone());
                Some(Arc::new(jwks.map_err(|why| fault(format!("auth.jwks_url {why}")))?))
            }
            (kept, _) => kept,
        };
        let hook = settings.hook.as_ref().map(|url| HookClient::http(url, settings, metrics.clone()));
        let hook = hook.transpose().map_err(|why| fault(format!("auth.hook {why}")))?.map(Arc::new);
        Ok(Self {
            anonymous: Permissions { subscribe: ChannelScope::Patterns(subscribe), ..Permissions::NOTHING },
            settings: settings.clone(),
            keys_at_hand,
            jwks,
            api_keys,
            hook,
        })
    }

    /// Finds the API key.
    pub(super) fn api_key(&self, secret: &str) -> Result<(Principal, AuthMethod), CredentialError> {
        let hash = hash(secret);
        let key = self.api_keys.get(&hash).ok_or(CredentialError::ApiKey)?;
        Ok((Principal::Key(key.name.clone()), AuthMethod::Key(hash)))
    }

    /// Verifies a token; what it allows is [`Policy::permissions`]' to say.
    ///
    /// # Errors
    /// What is wrong with it, or that the keys of the identity provider are not there.
    pub(super) async fn token(&self, text: &str) -> Result<(Principal, AuthMethod), PolicyError> {
        let token = Token::parse(text)?;
        if !self.accepts(token.algorithm) {
            return Err(CredentialError::Algorithm.into());
        }
        let key = match self.keys_at_hand.iter().find(|key| token.is_signed_by(key)) {
            Some(key) => key.fingerprint(),
            None => self.provider_key(&token).await?,
        };
        let claims = token.claims(&self.settings.user_claim)?;
        let principal = Principal::User(claims.user.as_str().into());
        Ok((principal, AuthMethod::Token { claims: Box::new(claims), algorithm: token.algorithm, key }))
    }

    /// Finds the provider's key that signed the token. If no key has its name, waits for the next fetch: a provider that rotates
    /// its keys signs with a new one before the hub knows it.
    async fn provider_key(&self, token: &Token<'_>) -> Result<KeyFingerprint, PolicyError> {
        let can_be_at_hand = self.keys_at_hand.iter().any(|key| key.can(token.algorithm));
        let none = if can_be_at_hand { CredentialError::Signature } else { CredentialError::UnknownKey };
        // What a provider publishes is no secret, so nothing symmetric is ever verified with it.
        let Some(jwks) = self.jwks.as_ref().filter(|_| !token.algorithm.is_symmetric()) else {
            return Err(none.into());
        };
        let signer = |keys: &[VerificationKey]| {
            keys.iter().find(|key| token.is_signed_by(key)).map(VerificationKey::fingerprint)
        };
        let keys = jwks.keys().await?;
        if let Some(mark) = signer(&keys) {
            return Ok(mark);
        }
        let name = token.key_id.as_deref();
        if name.is_some() && keys.iter().any(|key| key.id() == name) {
            return Err(CredentialError::Signature.into());
        }
        let found = jwks.look_up(|keys: &Vec<VerificationKey>| signer(keys)).await?;
        found.ok_or_else(|| CredentialError::UnknownKey.into())
    }

    fn accepts(&self, algorithm: Algorithm) -> bool {
        let listed = &self.settings.algorithms;
        listed.is_empty() || listed.contains(&algorithm)
    }

    /// Whether the basis still holds: asked when somebody is admitted, and again while a stream is open.
    ///
    /// # Errors
    /// Why nothing may be done on it any more.
    pub(super) fn check(
        &self,
        basis: &AuthMethod,
        revocations: &Revocations,
        now: f64,
    ) -> Result<(), CredentialError> {
        match basis {
            AuthMethod::Process | AuthMethod::OpenHub | AuthMethod::Nothing => Ok(()),
            AuthMethod::Key(hash) => self.api_keys.get(hash).map(|_| ()).ok_or(CredentialError::ApiKey),
            AuthMethod::Token { claims, algorithm, key } => {
                if !self.accepts(*algorithm) || !self.has(*key) {
                    return Err(CredentialError::UnknownKey);
                }
                self.check_claims(claims, now)?;
                if revocations.covers(claims, now) { Err(CredentialError::Revoked) } else { Ok(()) }
            }
            AuthMethod::Ticket { maker, .. } => self.check(&maker.basis, revocations, now),
        }
    }

    /// What may be done on a basis that holds.
    pub(super) fn permissions(&self, basis: &AuthMethod) -> Permissions {
        match basis {
            AuthMethod::Process | AuthMethod::OpenHub => Permissions::EVERYTHING,
            AuthMethod::Nothing => self.anonymous.clone(),
            AuthMethod::Key(hash) => {
                self.api_keys.get(hash).map_or(Permissions::NOTHING, |key| key.permissions.clone())
            }
            AuthMethod::Token { claims, .. } => self.rights_of_user(claims),
            AuthMethod::Ticket { maker, .. } => self.permissions(&maker.basis),
        }
    }

    fn has(&self, mark: KeyFingerprint) -> bool {
        let at_hand = self.keys_at_hand.iter().any(|key| key.fingerprint() == mark);
        at_hand
            || self
                .jwks
                .as_ref()
                .and_then(|jwks| jwks.newest())
                .is_some_and(|keys| keys.iter().any(|key| key.fingerprint() == mark))
    }

    fn check_claims(&self, claims: &Claims, now: f64) -> Result<(), CredentialError> {
        let leeway = self.settings.leeway.as_secs_f64();
        let age_max = self.settings.token_max_age.as_secs_f64() + leeway;
        let listed = |wanted: &[String], given: &[String]| {
            wanted.is_empty() || given.iter().any(|one| wanted.contains(one))
        };
        let issuer: Vec<String> = claims.issuer.iter().cloned().collect();
        match () {
            () if !listed(&self.settings.audience, &claims.audience) => Err(CredentialError::Audience),
            () if !listed(&self.settings.issuer, &issuer) => Err(CredentialError::Issuer),
            () if claims.expires_at + leeway <= now => Err(CredentialError::Expired),
            () if claims.not_before.is_some_and(|at| at > now + leeway) => Err(CredentialError::NotYet),
            () if claims.issued_at.is_some_and(|at| at > now + leeway) => Err(CredentialError::NotYet),
            // A revocation without an end lasts as long as a token may, so no token may last longer.
            () if claims.expires_at - claims.issued_at.unwrap_or(now) > age_max => {
                Err(CredentialError::TooLong)
            }
            () if claims.expires_at - now > age_max => Err(CredentialError::TooLong),
            () => Ok(()),
        }
    }

    fn rights_of_user(&self, claims: &Claims) -> Permissions {
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

/// Why somebody was not admitted.
pub(super) enum PolicyError {
    Flaw(CredentialError),
    /// It could not be told; somebody else did not answer.
    Error(Error),
}

impl From<CredentialError> for PolicyError {
    fn from(credential_error: CredentialError) -> Self {
        Self::Flaw(credential_error)
    }
}

impl From<Error> for PolicyError {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A right without patterns grants nothing, and patterns without their right neither.
fn rights_of(key: &KeySettings) -> Result<Permissions, String> {
    let reach = |right: Right, texts: &[String]| {
        let patterns = permissions::patterns(texts)?;
        Ok::<_, String>(ChannelScope::Patterns(if key.rights.contains(&right) {
            patterns
        } else {
            Vec::new()
        }))
    };
    Ok(Permissions {
        subscribe: reach(Right::Subscribe, &key.subscribe)?,
        publish: reach(Right::Publish, &key.publish)?,
        manage: key.rights.contains(&Right::Manage),
    })
}
