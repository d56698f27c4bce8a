//! Channels whose events the hub also publishes for other programs, and refusals of Redis.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tidings_protocol::{ChannelName, Pattern};
use tidings_redis::RedisReply;
use tracing::{info, warn};

use crate::config::is_of_key_events;

/// Mirrored channels.
pub(super) struct Mirror {
    patterns: Vec<Pattern>,
    refused: AtomicU64,
    is_refused: AtomicBool,
}

impl Mirror {
    pub(super) fn new(patterns: Vec<Pattern>) -> Self {
        Self { patterns, refused: AtomicU64::new(0), is_refused: AtomicBool::new(false) }
    }

    /// Whether events of this channel are mirrored. Channels of keyspace notifications never are.
    pub(super) fn has(&self, channel: &ChannelName) -> bool {
        let name = channel.as_str();
        !is_of_key_events(name) && self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Notes the reply of Redis to the mirrored events of a call.
    pub(super) fn note_reply(&self, reply: Option<&RedisReply>) {
        if self.patterns.is_empty() {
            return;
        }
        let Some(RedisReply::Error(error)) = reply else {
            if self.is_refused.swap(false, Ordering::Relaxed) {
                info!("redis accepts mirrored events again");
            }
            return;
        };
        self.refused.fetch_add(1, Ordering::Relaxed);
        if !self.is_refused.swap(true, Ordering::Relaxed) {
            warn!(error, "redis refused to publish a mirrored event; the event itself is stored");
        }
    }

    /// Returns the number of calls with a refused event.
    pub(super) fn denied_count(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
