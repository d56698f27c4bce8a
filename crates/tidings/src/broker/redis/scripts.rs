//! Lua scripts that Redis runs; each one is a single step that no other command interrupts.
//!
//! The head of each file in `scripts/` names every key and argument of the script.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tidings_redis::RedisCommand;

/// Appends publishes.
pub(super) const APPEND: &str =
    concat!(include_str!("scripts/mirror.lua"), include_str!("scripts/append.lua"));
/// Publishes a transient event that is mirrored.
pub(super) const PUBLISH_TRANSIENT: &str =
    concat!(include_str!("scripts/mirror.lua"), include_str!("scripts/publish_transient.lua"));
/// Acquires or renews the capture lease.
pub(super) const ACQUIRE_LEASE: &str = include_str!("scripts/acquire_lease.lua");
/// Releases the capture lease.
pub(super) const RELEASE_LEASE: &str = include_str!("scripts/release_lease.lua");
/// Reads the head of the log.
pub(super) const HEAD: &str = concat!(include_str!("scripts/clock.lua"), include_str!("scripts/head.lua"));
/// Begins an epoch.
pub(super) const BEGIN: &str = include_str!("scripts/begin.lua");
/// Deletes old entries.
pub(super) const TRIM: &str = concat!(include_str!("scripts/clock.lua"), include_str!("scripts/trim.lua"));
/// Changes a row of a shared table.
pub(super) const TABLE_CHANGE: &str = include_str!("scripts/table_change.lua");
/// Deletes expired rows of a shared table.
pub(super) const TABLE_SWEEP: &str = include_str!("scripts/table_sweep.lua");
/// Reads some rows of a shared table.
pub(super) const TABLE_PAGE: &str = include_str!("scripts/table_page.lua");

/// A script and its SHA-1, by which Redis finds it.
#[derive(Debug, Clone)]
pub(super) struct Script {
    text: String,
    sha: String,
}

impl Script {
    /// Drops the comments, which would cost bytes with each load.
    pub(super) fn new(source: &str) -> Self {
        let is_code = |line: &&str| !line.trim_start().starts_with("--");
        let text: String = source.lines().filter(is_code).flat_map(|line| [line, "\n"]).collect();
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let sha = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, sha }
    }

    /// Returns a call by SHA-1; the caller pushes keys and then arguments.
    pub(super) fn call(&self, keys: usize) -> RedisCommand {
        RedisCommand::new("EVALSHA").arg(&self.sha).arg(keys.to_string())
    }

    /// Returns the command that loads the script into Redis.
    pub(super) fn load(&self) -> RedisCommand {
        RedisCommand::new("SCRIPT").arg("LOAD").arg(&self.text)
    }
}
