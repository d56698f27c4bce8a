//! Settings of authentication and permissions. `auth` reads keys and patterns from them.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use tidings_protocol::Secret;

use super::error::UnknownWord;

/// Authentication and permissions. A hub without these settings is open to every client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthSettings {
    /// Secret that signs HS256, HS384 and HS512 tokens. Default: none.
    pub secret: Option<Secret>,
    /// PEM file with the public keys that verify RS, PS, ES and EdDSA tokens. Default: none.
    pub key_file: Option<PathBuf>,
    /// URL of the public keys of an identity provider: https, or http to loopback. Default: none.
    pub jwks_url: Option<String>,
    /// Accepted algorithms; empty accepts all that the keys can verify. Default: empty.
    pub algorithms: Vec<Algorithm>,
    /// Audiences, one of which a token must name; empty accepts any. Default: empty.
    pub audience: Vec<String>,
    /// Issuers, one of which a token must name; empty accepts any. Default: empty.
    pub issuer: Vec<String>,
    /// Accepted difference between clocks. Default: 5 s.
    pub leeway: Duration,
    /// Name of a cookie that may carry a token. Default: none.
    pub cookie: Option<String>,
    /// Whether `?access_token=` may carry a token. Proxies write such a token into their logs. Default: `false`.
    pub query_token: bool,
    /// The claim that names the user. Default: `sub`.
    pub user_claim: String,
    /// URL of your backend that confirms what the patterns allow. Default: none.
    pub hook: Option<String>,
    /// Time in which the hook must answer. Default: 2 s.
    pub hook_timeout: Duration,
    /// Time for which an answer of the hook is cached. Default: 10 s.
    pub hook_ttl: Duration,
    /// Interval at which the hook is asked again about an open stream. Default: 60 s.
    pub hook_recheck: Duration,
    /// Whether the hook's name may resolve to a private address. Default: `false`.
    pub hook_private: bool,
    /// Longest life of a token, and of a revocation without `until`. Default: 24 h.
    pub token_max_age: Duration,
    /// Patterns that every user may subscribe to; `{sub}` is the user's escaped name.
    /// Default: `user.{sub}`, `user.{sub}.**`, `user:{sub}`, `user:{sub}:**`.
    pub user_subscribe: Vec<String>,
    /// Patterns that clients without credentials may subscribe to. Default: empty.
    pub anonymous_subscribe: Vec<String>,
    /// API keys of backends. Default: none.
    pub keys: Vec<KeySettings>,
}

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySettings {
    /// Name of the key's holder, in logs and for its idempotency keys.
    pub name: String,
    /// `sha256:` and the 64 hexadecimal digits of the hash of the whole secret.
    pub hash: String,
    /// Permitted actions.
    pub rights: Vec<Right>,
    /// Patterns that the right `subscribe` covers.
    pub subscribe: Vec<String>,
    /// Patterns that the right `publish` covers.
    pub publish: Vec<String>,
}

/// Action that an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Publish to the key's patterns.
    Publish,
    /// Subscribe to, and read the history of, the key's patterns.
    Subscribe,
    /// Manage the hub: lists, revocations, metrics.
    Manage,
}

/// Signature algorithm of a token. RFC 7518, 3.1, and RFC 8037.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the registry")]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Default for AuthSettings {
    fn default() -> Self {
        let user_subscribe = ["user.{sub}", "user.{sub}.**", "user:{sub}", "user:{sub}:**"];
        Self {
            secret: None,
            key_file: None,
            jwks_url: None,
            algorithms: Vec::new(),
            audience: Vec::new(),
            issuer: Vec::new(),
            leeway: Duration::from_secs(5),
            cookie: None,
            query_token: false,
            user_claim: "sub".to_owned(),
            hook: None,
            hook_timeout: Duration::from_secs(2),
            hook_ttl: Duration::from_secs(10),
            hook_recheck: Duration::from_mins(1),
            hook_private: false,
            token_max_age: Duration::from_hours(24),
            user_subscribe: user_subscribe.map(str::to_owned).to_vec(),
            anonymous_subscribe: Vec::new(),
            keys: Vec::new(),
        }
    }
}

impl AuthSettings {
    /// Whether there is a key to verify tokens with.
    pub fn takes_tokens(&self) -> bool {
        self.secret.is_some() || self.key_file.is_some() || self.jwks_url.is_some()
    }
}

impl KeySettings {
    /// Parses the hash; `None` unless it is `sha256:` and 64 hexadecimal digits.
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        let digits = self.hash.strip_prefix("sha256:")?;
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
        }
        Some(digest)
    }
}

impl Right {
    /// Names of the rights.
    pub const WORDS: &'static [&'static str] = &["publish", "subscribe", "manage"];

    /// Returns the name in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Manage => "manage",
        }
    }
}

impl Algorithm {
    /// Every algorithm, in the order of [`Algorithm::WORDS`].
    pub const ALL: &'static [Self] = &[
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];
    /// The names of the algorithms, as `alg` has them.
    pub const WORDS: &'static [&'static str] = &[
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
        "EdDSA",
    ];

    /// The name of this algorithm.
    pub fn as_str(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// Whether the algorithm uses a shared secret.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

impl FromStr for Right {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let rights = [Self::Publish, Self::Subscribe, Self::Manage];
        let found = rights.into_iter().find(|right| right.as_str() == word);
        found.ok_or_else(|| UnknownWord::new(word, Self::WORDS))
    }
}

impl FromStr for Algorithm {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let found = Self::ALL.iter().find(|algorithm| algorithm.as_str() == word);
        found.copied().ok_or_else(|| UnknownWord::new(word, Self::WORDS))
    }
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
