//! Settings of credentials and rights, as they are written; the gate reads keys and patterns from them.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use super::{Secret, UnknownWord};

/// Who may do what. A hub without these settings is open to whoever reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthSettings {
    /// The secret that HS256, HS384 and HS512 tokens are signed with. Default: none.
    pub secret: Option<Secret>,
    /// A PEM file with the public keys that RS, PS, ES and EdDSA tokens are verified with. Default: none.
    pub key_file: Option<PathBuf>,
    /// Where the public keys of an identity provider are: https, or http to loopback. Default: none.
    pub jwks_url: Option<String>,
    /// The algorithms that tokens may have; empty takes all that the keys can do. Default: empty.
    pub algorithms: Vec<Algorithm>,
    /// Audiences, one of which a token must name; empty does not look. Default: empty.
    pub audience: Vec<String>,
    /// Issuers, one of which a token must come from; empty does not look. Default: empty.
    pub issuer: Vec<String>,
    /// By how much clocks may differ. Default: 5 s.
    pub leeway: Duration,
    /// The cookie that may carry a token. Default: none.
    pub cookie: Option<String>,
    /// Whether `?access_token=` may carry a token, which then stands in every proxy's log. Default: `false`.
    pub query_token: bool,
    /// The claim that names the user. Default: `sub`.
    pub user_claim: String,
    /// A URL of your backend that is asked after the patterns have allowed. Default: none.
    pub hook: Option<String>,
    /// How long the hook may take. Default: 2 s.
    pub hook_timeout: Duration,
    /// How long an answer of the hook is kept. Default: 10 s.
    pub hook_ttl: Duration,
    /// How often the hook is asked again for an open stream. Default: 60 s.
    pub hook_recheck: Duration,
    /// Whether the hook's name may resolve to a private address. Default: `false`.
    pub hook_private: bool,
    /// The longest life of a token, and of a revocation that does not say until when. Default: 24 h.
    pub token_max_age: Duration,
    /// Patterns that every user may subscribe to; `{sub}` is the user's escaped name.
    /// Default: `user.{sub}`, `user.{sub}.**`, `user:{sub}`, `user:{sub}:**`.
    pub user_subscribe: Vec<String>,
    /// Patterns that anyone may subscribe to without credentials. Default: empty.
    pub anonymous_subscribe: Vec<String>,
    /// The keys of backends. Default: none.
    pub keys: Vec<KeySettings>,
}

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySettings {
    /// Names its holder in logs, and its idempotency keys.
    pub name: String,
    /// `sha256:` and the 64 hexadecimal digits of the hash of the whole secret.
    pub hash: String,
    /// What it may do.
    pub rights: Vec<Right>,
    /// Patterns that `subscribe` is good for.
    pub subscribe: Vec<String>,
    /// Patterns that `publish` is good for.
    pub publish: Vec<String>,
}

/// What an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Publish to the key's patterns.
    Publish,
    /// Subscribe to, and read the history of, the key's patterns.
    Subscribe,
    /// Look after the hub: lists, revocations, metrics.
    Manage,
}

/// How a token is signed. RFC 7518, 3.1, and RFC 8037.
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
    /// Whether tokens can be verified at all.
    pub fn takes_tokens(&self) -> bool {
        self.secret.is_some() || self.key_file.is_some() || self.jwks_url.is_some()
    }
}

impl KeySettings {
    /// The hash, read; none where it is not `sha256:` and 64 hexadecimal digits.
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
    /// The words that name the rights.
    pub const WORDS: &'static [&'static str] = &["publish", "subscribe", "manage"];

    /// The word for this right in settings.
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

    /// Whether it is made with a secret that both sides know.
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
