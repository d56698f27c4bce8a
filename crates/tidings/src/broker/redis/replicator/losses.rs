//! Detection of events that Redis lost, and their channels.

use std::{collections::BTreeSet, sync::Arc};

use tidings_log::{Entry, Log, LostChannels, ReplicatedEntry};
use tidings_protocol::{ChannelName, Epoch};
use tidings_redis::RedisError;

use crate::broker::redis::append_call::LastSeen;
use crate::broker::redis::commands::{RedisLog, within_silence};
use crate::broker::redis::epochs::{RedisEpoch, RedisHead};

/// Channels that a loss names. A loss of more channels counts for all.
const LOST_CHANNELS_MAX: usize = 1000;

/// Comparison of a node's log with the log in Redis.
pub(in crate::broker::redis) struct LossDetector<'a> {
    pub(in crate::broker::redis) log: &'a Log,
    pub(in crate::broker::redis) redis_log: &'a RedisLog,
}

impl LossDetector<'_> {
    /// Whether Redis lacks the newest entry seen.
    pub(super) async fn has_lost(&self, witness: LastSeen, head: &RedisHead) -> Result<bool, RedisError> {
        if witness.offset == 0 {
            return Ok(false);
        }
        let Some(end) = end_of(head, witness.epoch) else { return Ok(true) };
        if witness.offset > end {
            return Ok(true);
        }
        if head.oldest.is_none_or(|oldest| witness.offset < oldest) {
            return Ok(false);
        }
        let there = within_silence(self.redis_log.range(witness.offset, 1)).await?;
        Ok(there.first().is_some_and(|it| it.offset == witness.offset && it.tag != witness.tag))
    }

    /// Drops the node's entries that Redis lacks. Returns their channels.
    pub(in crate::broker::redis) async fn drop_lost(
        &self,
        witness: LastSeen,
        head: &RedisHead,
    ) -> Result<LostChannels, RedisError> {
        if end_of(head, witness.epoch).is_none() {
            self.log.truncate_after(0);
            return Ok(LostChannels::All);
        }
        let here = self.log.head().offset;
        let was_held = self.log.tag_at(witness.offset) == witness.tag;
        // Not limited to that epoch: an answer may be late, and the node may hold entries of a later one.
        let common = self.common_offset(here.min(head.offset), head.oldest).await?;
        let dropped = self.log.truncate_after(common);
        let all_known = was_held && dropped.len() as u64 == here - common;
        let channels: BTreeSet<&ChannelName> =
            dropped.iter().flat_map(|entry: &Arc<Entry>| &entry.channels).collect();
        Ok(if all_known && channels.len() <= LOST_CHANNELS_MAX {
            LostChannels::Channels(channels.iter().map(ToString::to_string).collect())
        } else {
            LostChannels::All
        })
    }

    /// Returns the newest offset, at most `to`, at which the node and Redis have the same entry.
    async fn common_offset(&self, mut to: u64, oldest: Option<u64>) -> Result<u64, RedisError> {
        while to > 0 && oldest.is_some_and(|oldest| to >= oldest) {
            let from = to.saturating_sub(self.redis_log.page_size.entries() as u64 - 1).max(1);
            let there =
                self.redis_log.page(from, usize::try_from(to - from + 1).unwrap_or(usize::MAX)).await?;
            let same = |it: &&ReplicatedEntry| it.offset <= to && self.log.tag_at(it.offset) == it.tag;
            if let Some(common) = there.iter().rev().find(same) {
                return Ok(common.offset);
            }
            to = from - 1;
        }
        Ok(to)
    }
}

/// Returns the part of a loss that no row reports yet.
///
/// Only rows whose `of` names the epoch report its losses. A later row alone proves nothing: a primary that was cut off may
/// have acknowledged events after that row began.
pub(super) fn unreported_loss(lost: LostChannels, epoch: Epoch, head: &RedisHead) -> LostChannels {
    let reports = |it: &&RedisEpoch| it.of.is_some_and(|(of, _)| of == epoch);
    let reported: Vec<&LostChannels> = head.epochs.iter().filter(reports).map(|it| &it.row.lost).collect();
    if reported.contains(&&LostChannels::All) {
        return LostChannels::None;
    }
    let LostChannels::Channels(mut channels) = lost else { return lost };
    for lost in reported {
        if let LostChannels::Channels(names) = lost {
            channels.retain(|channel| !names.contains(channel));
        }
    }
    if channels.is_empty() { LostChannels::None } else { LostChannels::Channels(channels) }
}

/// Returns the last offset of an epoch; the head for the newest epoch.
fn end_of(head: &RedisHead, epoch: Epoch) -> Option<u64> {
    let index = head.epochs.iter().position(|it| it.row.epoch() == epoch)?;
    Some(head.epochs.get(index + 1).map_or(head.offset, |next| next.row.begins_after))
}
