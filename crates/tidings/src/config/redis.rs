//! Settings of a node that shares its log with others over Redis.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use sha2::{Digest, Sha256};
use tidings_protocol::Pattern;
use tidings_redis::RedisUrl;

use super::declare::settings;

/// Prefix of the channels of keyspace notifications, which the hub never listens to.
const KEY_EVENTS: &str = "__key";

settings! {
    /// Settings of a node whose log is in Redis.
    pub struct RedisSettings {
        /// URL of the Redis. Default: empty, which no hub accepts.
        pub url: RedisUrl = RedisUrl::default(),
        /// Certificate authorities of the server if the URL asks for TLS. Default: those of the web.
        pub ca_file: Option<PathBuf> = None,
        /// Client certificate with its chain, for a Redis or Sentinel that asks for one. Default: none.
        pub cert_file: Option<PathBuf> = None,
        /// Private key of that certificate. Default: none.
        pub key_file: Option<PathBuf> = None,
        /// Prefix of all keys: nodes with the same prefix share a log. Default: `tidings`.
        pub prefix: String = "tidings".to_owned(),
        /// Channels on which the hub receives messages that other programs `PUBLISH`. Default: `**`.
        pub listen: Vec<Pattern> = vec![Pattern::parse("**").expect("`**` is a pattern")],
        /// Channels whose messages of other programs the hub appends to the log. Default: empty.
        pub capture: Vec<Pattern> = Vec::new(),
        /// Channels whose events the hub also publishes for other programs to `SUBSCRIBE` to. Default: empty.
        pub mirror: Vec<Pattern> = Vec::new(),
        /// Time that a publish may wait for Redis before the hub refuses it. Default: 5 s.
        pub deadline: Duration = Duration::from_secs(5),
        /// Time after which another node captures, if the capturing node does not renew its lease. Default: 5 s.
        pub lease: Duration = Duration::from_secs(5),
        /// Replicas that have to hold a publish before it is answered. Default: 0.
        pub replicas_min: u64 = 0,
    }
}

impl RedisSettings {
    /// Settings for the Redis at `url`; the rest are defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: RedisUrl::new(url), ..Self::default() }
    }

    /// Whether the hub appends messages of other programs on this channel to the log.
    pub fn captures(&self, channel: &str) -> bool {
        self.listens_to(channel) && self.capture.iter().any(|pattern| pattern.matches(channel))
    }

    /// Returns a digest of the settings that select captured messages.
    pub(crate) fn capture_digest(&self) -> u64 {
        let mut digest = Sha256::new();
        for list in [&self.capture, &self.listen] {
            let patterns: BTreeSet<&str> = list.iter().map(Pattern::as_str).collect();
            // Patterns contain neither a space nor a line feed.
            patterns.iter().for_each(|pattern| digest.update(format!("{pattern} ")));
            digest.update("\n");
        }
        u64::from_be_bytes(digest.finalize()[..8].try_into().expect("it has 32 bytes"))
    }

    /// Whether `listen` lists this channel, and it is no channel of keyspace notifications.
    pub fn listens_to(&self, channel: &str) -> bool {
        !is_of_key_events(channel) && self.listen.iter().any(|pattern| pattern.matches(channel))
    }
}

/// Whether a name or a pattern matches channels of keyspace notifications only.
pub(crate) fn is_of_key_events(name: &str) -> bool {
    name.starts_with(KEY_EVENTS)
}

#[cfg(test)]
mod tests;
