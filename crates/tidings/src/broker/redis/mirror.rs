//! What the hub publishes for other programs besides: which channels, and whether Redis lets it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tidings_protocol::{ChannelName, Pattern};
use tracing::{info, warn};

use super::resp::RedisReply;
use crate::config::is_of_key_events;

/// Which channels are mirrored.
pub(super) struct Mirror {
    patterns: Vec<Pattern>,
    refused: AtomicU64,
    is_refused: AtomicBool,
}

impl Mirror {
    pub(super) fn new(patterns: Vec<Pattern>) -> Self {
        Self { patterns, refused: AtomicU64::new(0), is_refused: AtomicBool::new(false) }
    }

    /// Whether other programs are told what is published there. Those that Redis speaks on are never spoken on.
    pub(super) fn has(&self, channel: &ChannelName) -> bool {
        let name = channel.as_str();
        !is_of_key_events(name) && self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// What Redis said of it, where it said something.
    pub(super) fn note_reply(&self, reply: Option<&RedisReply>) {
        if self.patterns.is_empty() {
            return;
        }
        let Some(RedisReply::Error(error)) = reply else {
            if self.is_refused.swap(false, Ordering::Relaxed) {
                info!("redis mirrors again");
            }
            return;
        };
        self.refused.fetch_add(1, Ordering::Relaxed);
        if !self.is_refused.swap(true, Ordering::Relaxed) {
            warn!(
                error,
                "redis refused to publish what redis.mirror lists; the events themselves are published"
            );
        }
    }

    /// Calls of which something was refused.
    pub(super) fn denied_count(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
