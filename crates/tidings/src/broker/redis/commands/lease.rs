//! The capture lease.

use std::time::Duration;

use tidings_redis::RedisError;

use super::RedisLog;
use crate::broker::redis::error::corrupt;
use crate::broker::redis::keys::RedisKeys;
use crate::broker::redis::node_messages::NodeMessage;
use crate::broker::redis::scripts::{ACQUIRE_LEASE, RELEASE_LEASE};

impl RedisLog {
    /// Asks for the capture lease, or renews it. `marks` are the markers since which the node has received every message, oldest
    /// first. A node without a matching marker waits for `patience`, and twice as long if another node has received more.
    /// Returns whether the node holds the lease, and the captured position.
    pub(in crate::broker::redis) async fn acquire_lease(
        &self,
        holder: &str,
        lease: Duration,
        patience: Duration,
        marks: &[u64],
    ) -> Result<(bool, String), RedisError> {
        let RedisKeys { lease: key, captured, free, live, .. } = &self.keys;
        let [lease, patience] = [lease, patience].map(|it| it.as_millis().to_string());
        let command = ACQUIRE_LEASE.call(&[key, captured, free]).args([holder, &lease, &patience, live]);
        let command = command.args(marks.iter().map(|mark| format!("{mark:016x}")));
        let reply = self.run_one(&ACQUIRE_LEASE, command).await?;
        let Some([mine, place]) = reply.array() else {
            return Err(corrupt("the lease script gave an unexpected answer"));
        };
        Ok((mine.number() == Some(1), place.str().unwrap_or_default().to_owned()))
    }

    /// Releases the capture lease, and tells the other nodes.
    pub(in crate::broker::redis) async fn release_lease(&self, holder: &str) -> Result<(), RedisError> {
        let command = RELEASE_LEASE.call(&[&self.keys.lease]).arg(holder).arg(&self.keys.live);
        self.run_one(&RELEASE_LEASE, command.arg(NodeMessage::LeaseReleased.encode())).await.map(drop)
    }
}
