//! Lua scripts that Redis runs; each one is a single step that no other command interrupts.
//!
//! The head of each file in `scripts/` names every key and argument of the script.

use std::sync::LazyLock;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tidings_redis::RedisCommand;

/// Declares scripts, each by the files that it consists of.
macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $($file:literal),+;)*) => {$(
        $(#[$doc])*
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!($file)),+)));
    )*};
}

scripts! {
    /// Appends publishes.
    APPEND = "scripts/mirror.lua", "scripts/append.lua";
    /// Publishes a transient event that is mirrored.
    PUBLISH_TRANSIENT = "scripts/mirror.lua", "scripts/publish_transient.lua";
    /// Acquires or renews the capture lease.
    ACQUIRE_LEASE = "scripts/acquire_lease.lua";
    /// Releases the capture lease.
    RELEASE_LEASE = "scripts/release_lease.lua";
    /// Reads the head of the log.
    HEAD = "scripts/clock.lua", "scripts/head.lua";
    /// Begins an epoch.
    BEGIN = "scripts/begin.lua";
    /// Deletes old entries.
    TRIM = "scripts/clock.lua", "scripts/trim.lua";
    /// Changes a row of a shared table.
    TABLE_CHANGE = "scripts/table_change.lua";
    /// Deletes expired rows of a shared table.
    TABLE_SWEEP = "scripts/table_sweep.lua";
    /// Reads some rows of a shared table.
    TABLE_PAGE = "scripts/table_page.lua";
}

/// A script and its SHA-1, by which Redis finds it.
#[derive(Debug, Clone)]
pub(super) struct Script {
    text: String,
    sha: String,
}

impl Script {
    /// Drops the comments, which would cost bytes with each load.
    fn new(source: &str) -> Self {
        let is_code = |line: &&str| !line.trim_start().starts_with("--");
        let text: String = source.lines().filter(is_code).flat_map(|line| [line, "\n"]).collect();
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let sha = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, sha }
    }

    /// Returns a call by SHA-1, to which the caller appends the arguments.
    pub(super) fn call<K: AsRef<[u8]>>(&self, keys: &[K]) -> RedisCommand {
        RedisCommand::new("EVALSHA").arg(&self.sha).arg(keys.len().to_string()).args(keys)
    }

    /// Returns the command that loads the script into Redis.
    pub(super) fn load(&self) -> RedisCommand {
        RedisCommand::new("SCRIPT").arg("LOAD").arg(&self.text)
    }
}
