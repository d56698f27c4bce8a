//! Receives transient events of nodes, and messages of other programs.

mod capture_subscriptions;
mod debounce;
mod subscriptions;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use tidings_log::{Log, NewEntry, TransientEvent, frame_without_id};
use tidings_protocol::{ChannelName, EventName, Priority};
use tidings_redis::{PubsubEvent, PubsubTarget};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use self::capture_subscriptions::CaptureSubscriptions;
use self::debounce::Debounce;
use self::subscriptions::{PubsubSubscriptions, RefusalOutcome, SubscriptionDelta};
use super::capture::buffer::CaptureBuffer;
use super::commands::RedisLog;
use super::node_messages::{LiveEvent, NodeMessage};
use super::shared_table::replica::TableReplica;
use super::sync_state::{SyncPart, SyncState};
use crate::{broker::api::DeliverySink, config::RedisSettings, metrics::Metrics};

/// How long a transient event waits for the stored events before it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Interval of attempts to subscribe to refused targets that capture needs.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes that JSON adds to the text of an event, besides escapes.
const ENVELOPE_BYTES: usize = 64 << 10;

/// Task that receives Pub/Sub messages for one node.
pub(crate) struct LiveEventReceiver {
    pub(super) redis_log: Arc<RedisLog>,
    pub(super) log: Arc<Log>,
    pub(super) sync_state: Arc<SyncState>,
    pub(super) sink: Arc<dyn DeliverySink>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) settings: RedisSettings,
    pub(super) event_bytes_max: usize,
    /// Buffer of captured messages; `None` if `redis.capture` lists nothing.
    pub(super) buffer: Option<Arc<CaptureBuffer>>,
    pub(super) random: fn() -> u64,
    pub(super) shared: Arc<TableReplica>,
}

/// State of the Pub/Sub connection.
struct ReceiverState {
    /// Channel of node messages.
    live: Vec<u8>,
    /// Channel of changes to shared tables.
    changes: Vec<u8>,
    is_away: bool,
    /// Whether the connection has all subscriptions that were requested when it was opened.
    is_back: bool,
    targets: PubsubSubscriptions,
    capture: CaptureSubscriptions,
    /// Whether the buffer was told that the node receives every message to capture.
    is_buffer_started: bool,
    retry_at: Instant,
    /// Refused targets that the log has a warning for.
    refused: BTreeSet<PubsubTarget>,
    /// Channel of the next message if it is a mirrored event, which subscribers get from the log.
    mirrored: Option<String>,
}

impl LiveEventReceiver {
    /// Receives until the future is dropped.
    pub(crate) async fn run(self) {
        let live = self.redis_log.keys.live.as_bytes().to_vec();
        let changes = self.redis_log.keys.changes.as_bytes().to_vec();
        let mut pubsub = self
            .redis_log
            .pubsub(PubsubTarget::Name(live.clone()), 6 * self.event_bytes_max + ENVELOPE_BYTES);
        pubsub.subscribe([PubsubTarget::Name(changes.clone())]).await;
        // Subscriptions for capture do not wait for a subscriber.
        let targets = PubsubSubscriptions::new(self.settings.clone());
        pubsub.subscribe(targets.globs_and_names()).await;
        let mut debounce = Debounce::new(self.sink.interest());
        let mut state = ReceiverState {
            live,
            changes,
            is_away: false,
            is_back: false,
            targets,
            capture: CaptureSubscriptions::new(&self.settings),
            is_buffer_started: false,
            retry_at: Instant::now(),
            refused: BTreeSet::new(),
            mirrored: None,
        };
        loop {
            let refused = state.capture.refused();
            tokio::select! {
                event = pubsub.next() => {
                    if let Some(SubscriptionDelta { new, old }) = self.handle_event(event, &mut state).await {
                        pubsub.subscribe(new).await;
                        pubsub.unsubscribe(old).await;
                    }
                }
                () = sleep_until(state.retry_at), if !refused.is_empty() => {
                    state.retry_at = Instant::now() + RETRY;
                    pubsub.resubscribe(refused).await;
                }
                is_due = debounce.next() => {
                    if !is_due {
                        return;
                    }
                    let began = Instant::now();
                    let SubscriptionDelta { new, old } = state.targets.update(self.sink.take_interest_changes());
                    // New targets come first, so that no message is lost in between.
                    pubsub.subscribe(new).await;
                    pubsub.unsubscribe(old).await;
                    state.refused.retain(|target| state.targets.has(target));
                    debounce.finish(began);
                }
            }
        }
    }

    /// Handles an event. Returns the subscriptions that change by it.
    async fn handle_event(&self, event: PubsubEvent, state: &mut ReceiverState) -> Option<SubscriptionDelta> {
        // A mirrored event follows its node message at once, or the node has no subscription to its channel.
        let mirrored = state.mirrored.take();
        let is_own = |channel: &Bytes| mirrored.as_deref().is_some_and(|own| own.as_bytes() == channel);
        match event {
            PubsubEvent::Message { channel, payload } if channel == state.live => {
                state.mirrored = self.handle_node_message(&payload).await;
            }
            PubsubEvent::Message { channel, payload } if channel == state.changes => {
                self.shared.on_message(&payload);
            }
            PubsubEvent::Message { channel, .. } | PubsubEvent::TooLarge { channel, .. }
                if is_own(&channel) => {}
            PubsubEvent::Message { channel, payload } => self.handle_message(&channel, Ok(&payload)),
            PubsubEvent::TooLarge { channel, bytes } => {
                self.handle_message(&channel, Err(format!("it is {bytes} bytes")));
            }
            PubsubEvent::Subscribed { target } => {
                state.refused.remove(&target);
                state.capture.subscribed(&target);
                self.update_capture_status(state);
                return state.targets.grant(&target);
            }
            PubsubEvent::Refused { target, reason } => {
                return Some(self.on_refused(&target, &reason, state));
            }
            PubsubEvent::Disconnected { reason } => self.on_disconnect(&reason, state),
            PubsubEvent::Ready => {
                self.sync_state.mark_healthy(SyncPart::Receive);
                self.shared.on_resubscribed();
                if std::mem::take(&mut state.is_away) {
                    info!("the Pub/Sub connection to redis is back");
                }
                state.is_back = true;
                self.update_capture_status(state);
            }
        }
        None
    }

    /// Handles a refused target. Returns the subscriptions that replace it.
    fn on_refused(
        &self,
        target: &PubsubTarget,
        reason: &str,
        state: &mut ReceiverState,
    ) -> SubscriptionDelta {
        state.capture.refuse(target);
        state.retry_at = Instant::now() + RETRY;
        let RefusalOutcome { delta, is_missed } = state.targets.refuse(target);
        if !is_missed {
            debug!(%target, reason, "redis refuses a pattern; the hub subscribes to that of redis.listen and filters");
            return delta;
        }
        self.metrics.broker.subscriptions_denied.inc();
        self.update_capture_status(state);
        if state.refused.insert(target.clone()) {
            warn!(%target, reason, "redis refuses a channel or pattern that clients subscribe to");
        }
        delta
    }

    fn on_disconnect(&self, reason: &str, state: &mut ReceiverState) {
        self.sync_state.mark_unhealthy(SyncPart::Receive, reason.to_owned());
        if !std::mem::replace(&mut state.is_away, true) {
            warn!(
                reason,
                "no Pub/Sub connection to redis; the node misses messages of other programs meanwhile, and tries again"
            );
        }
        state.capture.disconnected();
        (state.is_back, state.is_buffer_started) = (false, false);
        if let Some(buffer) = &self.buffer {
            buffer.disconnected();
            self.sync_state.mark_unhealthy(
                SyncPart::Capture,
                "redis.capture missed messages while Pub/Sub was disconnected".to_owned(),
            );
        }
    }

    /// Lets the capturer begin once the node receives every message to capture. Until then the node is not ready.
    fn update_capture_status(&self, state: &mut ReceiverState) {
        let Some(buffer) = self.buffer.as_ref().filter(|_| state.is_back && !state.is_buffer_started) else {
            return;
        };
        match state.capture.missing() {
            None => {
                state.is_buffer_started = true;
                buffer.connected((self.random)());
            }
            Some(target) => {
                let reason = format!(
                    "redis refuses a channel or pattern of redis.capture: {target}; \
                     allow its user this channel or pattern as it stands, or one of redis.listen"
                );
                self.sync_state.mark_unhealthy(SyncPart::Capture, reason);
            }
        }
    }

    /// Handles a node message. Returns the channel of the next message if that is a mirrored event.
    async fn handle_node_message(&self, payload: &[u8]) -> Option<String> {
        match NodeMessage::decode(payload) {
            Some(NodeMessage::Event(live)) => self.deliver_live(live).await,
            Some(NodeMessage::Marker(mark)) => self.buffer.iter().for_each(|buffer| buffer.note_marker(mark)),
            Some(NodeMessage::LeaseReleased) => self.buffer.iter().for_each(|buffer| buffer.lease_released()),
            Some(NodeMessage::Mirrored(channel)) => return Some(channel),
            None => self.reject_message("it is no node message"),
        }
        None
    }

    async fn deliver_live(&self, live: LiveEvent) {
        let _placed_or_late = timeout(PATIENCE, self.sync_state.wait_applied(live.after)).await;
        self.deliver(&live.channels, live.event.as_ref(), &live.data, live.after);
    }

    /// Handles a message of another program: an event on the channel of the same name.
    fn handle_message(&self, channel: &Bytes, payload: Result<&Bytes, String>) {
        if !subscriptions::is_receivable(channel) {
            return;
        }
        let name = std::str::from_utf8(channel).ok().and_then(|name| ChannelName::parse(name).ok());
        let Some(channel) = name else { return self.reject_message("its channel has no valid name") };
        if !self.settings.listens_to(channel.as_str()) {
            // A glob matches more channels than the pattern that it stands for.
            return;
        }
        let buffer = self.buffer.as_ref().filter(|_| self.settings.captures(channel.as_str()));
        match (self.check_payload(payload), buffer) {
            (Ok(data), Some(buffer)) => self.push_captured(buffer, Some(self.new_entry(channel, data))),
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

    /// Adds a message to the capture buffer; `None` stands for a message that is not fit for the log.
    fn push_captured(&self, buffer: &CaptureBuffer, entry: Option<NewEntry>) {
        let lost = buffer.push(entry);
        if lost > 0 {
            self.metrics.broker.capture_dropped(lost);
            tracing::debug!(lost, "messages of redis.capture were dropped: the buffer is full");
        }
    }

    fn new_entry(&self, channel: ChannelName, data: &str) -> NewEntry {
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

    /// Hands a transient event to its subscribers, after the entries up to `after` that the node has.
    fn deliver(&self, channels: &[ChannelName], event: Option<&EventName>, data: &str, after: u64) {
        let after = after.min(self.log.head().offset);
        let frame = frame_without_id(event, data);
        let missed = self.sink.deliver_transient(channels, &TransientEvent { after, frame });
        self.metrics.events.transient(missed);
    }

    fn reject_message(&self, why: &str) {
        self.metrics.broker.capture_rejected.inc();
        tracing::debug!(why, "a message of another program was dropped");
    }
}
