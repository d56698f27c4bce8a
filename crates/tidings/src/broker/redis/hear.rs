//! Hears what is not in the log: events that nodes do not store, and what other programs publish.

mod turns;
mod wishes;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use tidings_protocol::{ChannelName, EventName};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use self::turns::Turns;
use super::{Heard, Link, ears::Wish, live::Live, sight::Sight};
use crate::{
    broker::Audience,
    config::RedisSettings,
    log::{
        Log,
        entry::{Unstored, frame_without_id},
    },
    metrics::Metrics,
};

/// How long an event waits for what is stored before it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it looks whether that has come.
const LOOK: Duration = Duration::from_millis(2);
/// What JSON adds to the text of an event, at most: escapes, and the names of its channels.
const ENVELOPE_BYTES: usize = 64 << 10;

/// Hears for one node.
pub(crate) struct Hearer {
    pub(super) link: Arc<Link>,
    pub(super) log: Arc<Log>,
    pub(super) sight: Arc<Sight>,
    pub(super) audience: Arc<dyn Audience>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) settings: RedisSettings,
    pub(super) event_bytes_max: usize,
}

impl Hearer {
    /// Hears until it is dropped.
    pub(crate) async fn run(self) {
        let live = self.link.live_channel().as_bytes().to_vec();
        let mut ears = self.link.ears(Wish::Name(live.clone()), 6 * self.event_bytes_max + ENVELOPE_BYTES);
        let mut wishes: BTreeSet<Wish> = BTreeSet::new();
        let mut refused: BTreeSet<Wish> = BTreeSet::new();
        let mut turns = Turns::new(self.audience.interest());
        let mut is_away = false;
        loop {
            tokio::select! {
                heard = ears.next() => match heard {
                    Heard::Message { channel, payload } if channel == live => self.live(&payload).await,
                    Heard::Message { channel, payload } => self.message(&channel, &payload),
                    Heard::TooLarge { bytes, .. } => self.drop_message(&format!("it is {bytes} bytes")),
                    Heard::Subscribed { wish } => drop(refused.remove(&wish)),
                    Heard::Refused { wish, reason } => {
                        self.metrics.broker_refused();
                        if refused.insert(wish.clone()) {
                            warn!(%wish, reason, "redis does not let the hub hear what its readers want");
                        }
                    }
                    Heard::Away { reason } => {
                        self.sight.is_not_heard(reason.clone());
                        if !std::mem::replace(&mut is_away, true) {
                            warn!(reason, "nothing is heard of redis; what is published there meanwhile is lost");
                        }
                    }
                    Heard::Back => {
                        self.sight.is_heard();
                        if std::mem::take(&mut is_away) {
                            info!("redis is heard again");
                        }
                    }
                },
                is_turn = turns.next() => {
                    if !is_turn {
                        return;
                    }
                    let began = Instant::now();
                    let wanted = wishes::of(&self.audience.wanted(), &self.settings);
                    // What takes the place of another is there before that goes: nothing is lost in between.
                    ears.subscribe(wanted.difference(&wishes).cloned().collect::<Vec<_>>()).await;
                    ears.unsubscribe(wishes.difference(&wanted).cloned().collect::<Vec<_>>()).await;
                    refused.retain(|wish| wanted.contains(wish));
                    wishes = wanted;
                    turns.end(began);
                }
            }
        }
    }

    async fn live(&self, payload: &[u8]) {
        let Some(live) = Live::decode(payload) else {
            return self.drop_message("it is not what a hub sends to its like");
        };
        let due = Instant::now() + PATIENCE;
        while self.log.head().offset < live.after && Instant::now() < due {
            sleep(LOOK).await;
        }
        self.deliver(&live.channels, live.event.as_ref(), &live.data, live.after);
    }

    /// A message of another program, on the channel of the same name.
    fn message(&self, channel: &Bytes, payload: &Bytes) {
        let name = std::str::from_utf8(channel).ok().and_then(|name| ChannelName::parse(name).ok());
        let Some(channel) = name else { return self.drop_message("its channel is none of the hub's") };
        if !self.settings.listens_to(channel.as_str()) {
            // A glob of Redis's takes in more than the pattern that it stands for.
            return;
        }
        let Ok(data) = std::str::from_utf8(payload) else { return self.drop_message("it is not UTF-8") };
        if data.len() > self.event_bytes_max {
            return self.drop_message("it is larger than limits.event_bytes");
        }
        self.deliver(&[channel], None, data, u64::MAX);
    }

    /// Leaves an event with its readers, behind what is stored up to `after`, as far as that is here.
    fn deliver(&self, channels: &[ChannelName], event: Option<&EventName>, data: &str, after: u64) {
        let after = after.min(self.log.head().offset);
        let frame = frame_without_id(event, data);
        let missed = self.audience.unstored(channels, &Unstored { after, frame });
        self.metrics.unstored(missed);
    }

    fn drop_message(&self, why: &str) {
        self.metrics.message_dropped();
        tracing::debug!(why, "a message in redis was dropped");
    }
}
