//! Settings of authentication and permissions. `auth` reads keys and patterns from them.

use std::{path::PathBuf, time::Duration};

use tidings_protocol::{Secret, words};

use super::declare::settings;

settings! {
    /// Authentication and permissions. A hub without these settings is open to every client.
    pub struct AuthSettings {
        /// Secret that signs HS256, HS384 and HS512 tokens. Default: none.
        pub secret: Option<Secret> = None,
        /// PEM file with the public keys that verify RS, PS, ES and EdDSA tokens. Default: none.
        pub key_file: Option<PathBuf> = None,
        /// URL of the public keys of an identity provider: https, or http to loopback. Default: none.
        pub jwks_url: Option<String> = None,
        /// Accepted algorithms; empty accepts all that the keys can verify. Default: empty.
        pub algorithms: Vec<Algorithm> = Vec::new(),
        /// Audiences, one of which a token must name; empty accepts any. Default: empty.
        pub audience: Vec<String> = Vec::new(),
        /// Issuers, one of which a token must name; empty accepts any. Default: empty.
        pub issuer: Vec<String> = Vec::new(),
        /// Accepted difference between clocks. Default: 5 s.
        pub leeway: Duration = Duration::from_secs(5),
        /// Name of a cookie that may carry a token. Default: none.
        pub cookie: Option<String> = None,
        /// Whether `?access_token=` may carry a token. Proxies write such a token into their logs. Default: `false`.
        pub query_token: bool = false,
        /// The claim that names the user. Default: `sub`.
        pub user_claim: String = "sub".to_owned(),
        /// URL of your backend that confirms what the patterns allow. Default: none.
        pub hook: Option<String> = None,
        /// Time in which the hook must answer. Default: 2 s.
        pub hook_timeout: Duration = Duration::from_secs(2),
        /// Time for which an answer of the hook is cached. Default: 10 s.
        pub hook_ttl: Duration = Duration::from_secs(10),
        /// Interval at which the hook is asked again about an open stream. Default: 60 s.
        pub hook_recheck: Duration = Duration::from_mins(1),
        /// Whether the hook's name may resolve to a private address. Default: `false`.
        pub hook_private: bool = false,
        /// Longest life of a token, and of a revocation without `until`. Default: 24 h.
        pub token_max_age: Duration = Duration::from_hours(24),
        /// Patterns that every user may subscribe to; `{sub}` is the user's escaped name.
        /// Default: `user.{sub}`, `user.{sub}.**`, `user:{sub}`, `user:{sub}:**`.
        pub user_subscribe: Vec<String> =
            ["user.{sub}", "user.{sub}.**", "user:{sub}", "user:{sub}:**"].map(str::to_owned).to_vec(),
        /// Patterns that clients without credentials may subscribe to. Default: empty.
        pub anonymous_subscribe: Vec<String> = Vec::new(),
        /// API keys of backends. Default: none.
        pub keys: Vec<KeySettings> = Vec::new(),
    }
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

words! {
    /// Action that an API key may do.
    pub enum Right {
        /// Publish to the key's patterns.
        Publish = "publish",
        /// Subscribe to, and read the history of, the key's patterns.
        Subscribe = "subscribe",
        /// Manage the hub: lists, revocations, metrics.
        Manage = "manage",
    }
}

words! {
    /// Signature algorithm of a token. RFC 7518, 3.1, and RFC 8037.
    #[derive(PartialOrd, Ord)]
    #[expect(missing_docs, reason = "the names are those of the registry")]
    pub enum Algorithm {
        Hs256 = "HS256",
        Hs384 = "HS384",
        Hs512 = "HS512",
        Rs256 = "RS256",
        Rs384 = "RS384",
        Rs512 = "RS512",
        Ps256 = "PS256",
        Ps384 = "PS384",
        Ps512 = "PS512",
        Es256 = "ES256",
        Es384 = "ES384",
        EdDsa = "EdDSA",
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

impl Algorithm {
    /// Whether the algorithm uses a shared secret.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}
