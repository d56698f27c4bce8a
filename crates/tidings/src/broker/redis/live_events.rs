//! Hears what is not in the log: events that nodes do not store, and what other programs publish.

mod capture_subscriptions;
mod debounce;
mod subscriptions;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use tidings_protocol::{ChannelName, EventName, Priority};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use self::{
    capture_subscriptions::CaptureSubscriptions,
    debounce::Debounce,
    subscriptions::{PubsubSubscriptions, RefusalOutcome, SubscriptionDelta},
};
use super::{
    CaptureBuffer, PubsubEvent, RedisLog, TableReplica,
    node_messages::{LiveEvent, NodeMessage},
    pubsub::PubsubTarget,
    sync_state::SyncState,
};
use crate::{
    broker::DeliverySink,
    config::RedisSettings,
    log::{
        Log,
        entry::{NewEntry, TransientEvent, frame_without_id},
    },
    metrics::Metrics,
};

/// How long an event waits for what is stored before it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often Redis is asked again for what capture needs and it refused.
const RETRY: Duration = Duration::from_secs(1);
/// What JSON adds to the text of an event, at most: escapes, and the names of its channels.
const ENVELOPE_BYTES: usize = 64 << 10;

/// Hears for one node.
pub(crate) struct LiveEventReceiver {
    pub(super) redis_log: Arc<RedisLog>,
    pub(super) log: Arc<Log>,
    pub(super) sync_state: Arc<SyncState>,
    pub(super) sink: Arc<dyn DeliverySink>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) settings: RedisSettings,
    pub(super) event_bytes_max: usize,
    /// Where messages go that are captured.
    pub(super) buffer: Option<Arc<CaptureBuffer>>,
    pub(super) random: fn() -> u64,
    pub(super) shared: Arc<TableReplica>,
}

/// What it knows of the connection.
struct ReceiverState {
    /// The hub's own channel.
    live: Vec<u8>,
    /// That of small state.
    changes: Vec<u8>,
    is_away: bool,
    /// Whether the connection hears all that it was asked for when it was opened.
    is_back: bool,
    targets: PubsubSubscriptions,
    capture: CaptureSubscriptions,
    /// Whether the capturer was told that all it needs is heard.
    is_capture_told: bool,
    retry_at: Instant,
    /// What Redis does not let it hear, as far as that was said.
    refused: BTreeSet<PubsubTarget>,
    /// The channel of the next message, where the hub sends that itself: its readers have it from the log.
    mirrored: Option<String>,
}

impl LiveEventReceiver {
    /// Hears until it is dropped.
    pub(crate) async fn run(self) {
        let live = self.redis_log.live_channel().as_bytes().to_vec();
        let changes = self.redis_log.keys().changes.as_bytes().to_vec();
        let mut pubsub = self
            .redis_log
            .pubsub(PubsubTarget::Name(live.clone()), 6 * self.event_bytes_max + ENVELOPE_BYTES);
        pubsub.subscribe([PubsubTarget::Name(changes.clone())]).await;
        // What is captured is heard before anybody wants anything.
        let targets = PubsubSubscriptions::new(self.settings.clone());
        pubsub.subscribe(targets.globs_and_names()).await;
        let mut turns = Debounce::new(self.sink.interest());
        let mut hearing = ReceiverState {
            live,
            changes,
            is_away: false,
            is_back: false,
            targets,
            capture: CaptureSubscriptions::new(&self.settings),
            is_capture_told: false,
            retry_at: Instant::now(),
            refused: BTreeSet::new(),
            mirrored: None,
        };
        loop {
            let refused = hearing.capture.refused();
            tokio::select! {
                heard = pubsub.next() => {
                    if let Some(SubscriptionDelta { new, old }) = self.handle_event(heard, &mut hearing).await {
                        pubsub.subscribe(new).await;
                        pubsub.unsubscribe(old).await;
                    }
                }
                () = sleep_until(hearing.retry_at), if !refused.is_empty() => {
                    hearing.retry_at = Instant::now() + RETRY;
                    pubsub.resubscribe(refused).await;
                }
                is_turn = turns.next() => {
                    if !is_turn {
                        return;
                    }
                    let began = Instant::now();
                    let SubscriptionDelta { new, old } = hearing.targets.update(self.sink.take_interest_changes());
                    // What takes the place of another is there before that goes: nothing is lost in between.
                    pubsub.subscribe(new).await;
                    pubsub.unsubscribe(old).await;
                    hearing.refused.retain(|target| hearing.targets.has(target));
                    turns.finish(began);
                }
            }
        }
    }

    /// Takes what was heard; answers what is to be asked for then.
    async fn handle_event(
        &self,
        heard: PubsubEvent,
        hearing: &mut ReceiverState,
    ) -> Option<SubscriptionDelta> {
        // A mirrored message follows its word at once, or is not heard here.
        let mirrored = hearing.mirrored.take();
        let is_own = |channel: &Bytes| mirrored.as_deref().is_some_and(|own| own.as_bytes() == channel);
        match heard {
            PubsubEvent::Message { channel, payload } if channel == hearing.live => {
                hearing.mirrored = self.handle_node_message(&payload).await;
            }
            PubsubEvent::Message { channel, payload } if channel == hearing.changes => {
                self.shared.heard(&payload);
            }
            PubsubEvent::Message { channel, .. } | PubsubEvent::TooLarge { channel, .. }
                if is_own(&channel) => {}
            PubsubEvent::Message { channel, payload } => self.handle_message(&channel, Ok(&payload)),
            PubsubEvent::TooLarge { channel, bytes } => {
                self.handle_message(&channel, Err(format!("it is {bytes} bytes")));
            }
            PubsubEvent::Subscribed { target } => {
                hearing.refused.remove(&target);
                hearing.capture.subscribed(&target);
                self.update_capture_status(hearing);
                return hearing.targets.grant(&target);
            }
            PubsubEvent::Refused { target, reason } => {
                return Some(self.on_refused(&target, &reason, hearing));
            }
            PubsubEvent::Away { reason } => self.on_disconnect(&reason, hearing),
            PubsubEvent::Back => {
                self.sync_state.is_heard();
                self.shared.on_resubscribed();
                if std::mem::take(&mut hearing.is_away) {
                    info!("the connection for Pub/Sub to redis is back");
                }
                hearing.is_back = true;
                self.update_capture_status(hearing);
            }
        }
        None
    }

    /// Redis does not let the hub hear something; answers what to ask for instead.
    fn on_refused(
        &self,
        target: &PubsubTarget,
        reason: &str,
        hearing: &mut ReceiverState,
    ) -> SubscriptionDelta {
        hearing.capture.refuse(target);
        hearing.retry_at = Instant::now() + RETRY;
        let RefusalOutcome { turn, is_unheard } = hearing.targets.refuse(target);
        if !is_unheard {
            debug!(%target, reason, "redis refuses a pattern; the hub hears more by redis.listen, and passes over it");
            return turn;
        }
        self.metrics.redis_subscription_denied();
        self.update_capture_status(hearing);
        if hearing.refused.insert(target.clone()) {
            warn!(%target, reason, "redis does not let the hub hear what its readers want");
        }
        turn
    }

    fn on_disconnect(&self, reason: &str, hearing: &mut ReceiverState) {
        self.sync_state.is_not_heard(reason.to_owned());
        if !std::mem::replace(&mut hearing.is_away, true) {
            warn!(
                reason,
                "no connection for Pub/Sub to redis; the hub misses what other programs PUBLISH there meanwhile, and tries again"
            );
        }
        hearing.capture.disconnected();
        (hearing.is_back, hearing.is_capture_told) = (false, false);
        if let Some(buffer) = &self.buffer {
            buffer.away();
            self.sync_state.is_not_captured("redis.capture has missed what was published".to_owned());
        }
    }

    /// Has the capturer begin once all that it needs is heard; until then the node is not ready.
    fn update_capture_status(&self, hearing: &mut ReceiverState) {
        let Some(buffer) = self.buffer.as_ref().filter(|_| hearing.is_back && !hearing.is_capture_told)
        else {
            return;
        };
        match hearing.capture.missing() {
            None => {
                hearing.is_capture_told = true;
                buffer.back((self.random)());
            }
            Some(target) => self.sync_state.is_not_captured(format!(
                "redis does not let the hub hear what redis.capture lists: {target}; \
                 allow its user this channel or pattern as it stands, or one of redis.listen"
            )),
        }
    }

    /// Takes what a node said; answers the channel of the next message, where the hub sends that.
    async fn handle_node_message(&self, payload: &[u8]) -> Option<String> {
        match NodeMessage::decode(payload) {
            Some(NodeMessage::Event(live)) => self.deliver_live(live).await,
            Some(NodeMessage::Mark(mark)) => self.buffer.iter().for_each(|buffer| buffer.mark(mark)),
            Some(NodeMessage::Free) => self.buffer.iter().for_each(|buffer| buffer.freed()),
            Some(NodeMessage::Mirrored(channel)) => return Some(channel),
            None => self.reject_message("it is not what a hub sends to its like"),
        }
        None
    }

    async fn deliver_live(&self, live: LiveEvent) {
        let _placed_or_late = timeout(PATIENCE, self.sync_state.wait_applied(live.after)).await;
        self.deliver(&live.channels, live.event.as_ref(), &live.data, live.after);
    }

    /// A message of another program, on the channel of the same name.
    fn handle_message(&self, channel: &Bytes, payload: Result<&Bytes, String>) {
        if !subscriptions::is_receivable(channel) {
            return;
        }
        let name = std::str::from_utf8(channel).ok().and_then(|name| ChannelName::parse(name).ok());
        let Some(channel) = name else { return self.reject_message("its channel is none of the hub's") };
        if !self.settings.listens_to(channel.as_str()) {
            // A glob of Redis's takes in more than the pattern that it stands for.
            return;
        }
        let buffer = self.buffer.as_ref().filter(|_| self.settings.captures(channel.as_str()));
        match (self.check_payload(payload), buffer) {
            (Ok(data), Some(buffer)) => self.push_captured(buffer, Some(self.draft(channel, data))),
            (Ok(data), None) => self.deliver(&[channel], None, data, u64::MAX),
            (Err(why), buffer) => {
                buffer.into_iter().for_each(|buffer| self.push_captured(buffer, None));
                self.reject_message(&why);
            }
        }
    }

    fn check_payload<'a>(&self, payload: Result<&'a Bytes, String>) -> Result<&'a str, String> {
        let data = std::str::from_utf8(payload?).map_err(|_| "it is not UTF-8")?;
        if data.len() > self.event_bytes_max {
            return Err("it is larger than limits.event_bytes".to_owned());
        }
        Ok(data)
    }

    /// Leaves a message to be captured; of one that is not fit, that it was there.
    fn push_captured(&self, buffer: &CaptureBuffer, draft: Option<NewEntry>) {
        let lost = buffer.push(draft);
        if lost > 0 {
            self.metrics.capture_dropped(lost);
            tracing::debug!(lost, "messages of redis.capture wait too long for the log, and were dropped");
        }
    }

    fn draft(&self, channel: ChannelName, data: &str) -> NewEntry {
        NewEntry {
            channels: Box::new([channel]),
            event: None,
            data: data.into(),
            priority: Priority::Normal,
            key: None,
            published_at: self.log.now(),
            expires_at: None,
            idempotency: None,
        }
    }

    /// Leaves an event with its readers, behind what is stored up to `after`, as far as that is here.
    fn deliver(&self, channels: &[ChannelName], event: Option<&EventName>, data: &str, after: u64) {
        let after = after.min(self.log.head().offset);
        let frame = frame_without_id(event, data);
        let missed = self.sink.deliver_transient(channels, &TransientEvent { after, frame });
        self.metrics.transient(missed);
    }

    fn reject_message(&self, why: &str) {
        self.metrics.capture_rejected();
        tracing::debug!(why, "a message in redis was dropped");
    }
}
