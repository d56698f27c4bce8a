//! Transient events and other node messages over Pub/Sub.

use tidings_protocol::ChannelName;
use tidings_redis::{RedisCommand, RedisError};

use super::RedisLog;
use crate::broker::redis::node_messages::{LiveEvent, NodeMessage};
use crate::broker::redis::scripts::PUBLISH_TRANSIENT;

impl RedisLog {
    /// Publishes transient events to every node, in their order and in one round trip; mirrored events also to other programs.
    /// Returns for each event whether Redis accepted it.
    pub(in crate::broker::redis) async fn publish_live(
        &self,
        events: &[&LiveEvent],
    ) -> Result<Vec<Result<(), RedisError>>, RedisError> {
        let mirrored: Vec<Vec<&ChannelName>> = events
            .iter()
            .map(|live| live.channels.iter().filter(|channel| self.mirror.has(channel)).collect())
            .collect();
        let mut commands = Vec::with_capacity(events.len() + 1);
        let needs_script = mirrored.iter().any(|channels| !channels.is_empty());
        if needs_script {
            // A call that Redis refuses for its unknown script would have to be sent again after the others.
            commands.push(PUBLISH_TRANSIENT.load());
        }
        commands.extend(events.iter().zip(&mirrored).map(|(live, channels)| {
            if channels.is_empty() {
                return RedisCommand::new("PUBLISH").arg(&self.keys.live).arg(live.encode());
            }
            let command = PUBLISH_TRANSIENT.call::<&str>(&[]).arg(&self.keys.live).arg(live.encode());
            command.arg(&live.data).args(channels.iter().map(|channel| channel.as_str()))
        }));
        let preparations = usize::from(needs_script);
        let replies = self.pool.request(&commands, preparations).await?.into_iter().skip(preparations);
        let outcomes = replies.zip(&mirrored).map(|(reply, channels)| {
            let reply = reply.into_result()?;
            if !channels.is_empty() {
                self.mirror.note_reply(reply.array().unwrap_or_default().first());
            }
            Ok(())
        });
        Ok(outcomes.collect())
    }

    pub(in crate::broker::redis) async fn send_node_message(
        &self,
        message: &NodeMessage,
    ) -> Result<(), RedisError> {
        self.request_one(RedisCommand::new("PUBLISH").arg(&self.keys.live).arg(message.encode())).await?;
        Ok(())
    }

    /// Returns how often Redis refused to publish a mirrored event.
    pub(crate) fn mirror_denied(&self) -> u64 {
        self.mirror.denied_count()
    }
}
