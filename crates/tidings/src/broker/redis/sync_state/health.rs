//! Parts of a node's work with Redis, and why one of them does not work now.

/// Part of a node's work with Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker::redis) enum SyncPart {
    /// Replication of the log.
    Read,
    /// Transient events over Pub/Sub.
    Receive,
    /// Appends.
    Append,
    /// Capture of messages, by any node. Healthy if `redis.capture` lists nothing.
    Capture,
}

/// Reasons why parts do not work, in the order of [`SyncPart`]; `None` for a part that works.
#[derive(Debug)]
pub(super) struct PartHealth([Option<String>; 4]);

impl PartHealth {
    /// Parts other than capture have to work once before they are healthy.
    pub(super) fn new() -> Self {
        let at_start = [
            "the log was not read from redis yet",
            "Pub/Sub is not connected to redis yet",
            "nothing was written to redis yet",
        ];
        let [read, receive, append] = at_start.map(|reason| Some(reason.to_owned()));
        Self([read, receive, append, None])
    }

    /// Sets the reason of a part. Returns whether the part worked before.
    pub(super) fn set(&mut self, part: SyncPart, reason: Option<String>) -> bool {
        std::mem::replace(&mut self.0[part as usize], reason).is_none()
    }

    /// Returns the reason of the first part that does not work.
    pub(super) fn first_reason(&self) -> Result<(), String> {
        self.0.iter().find_map(Clone::clone).map_or(Ok(()), Err)
    }
}
