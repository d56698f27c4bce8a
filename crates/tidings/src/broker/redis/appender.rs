//! Appends the publishes of this node. All publishes that wait go to Redis in one call.

use std::{sync::Arc, time::Duration};

use tidings_protocol::{Epoch, EventId};
use tidings_redis::RedisError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;

use super::append_call::{Append, AppendError, AppendOutcome, Appended, LastSeen, NewEvent};
use super::commands::RedisLog;
use super::error::publish_error;
use super::node_messages::LiveEvent;
use super::sync_state::{SyncPart, SyncState};
use super::transient::{TransientPublish, transient_publisher};
use crate::broker::api::{PendingEvent, PublishOutcome, not_stored, shutting_down};
use crate::broker::batch::{AnswerSender, InFlightKeys, PublishBatch, PublishResult};
use crate::error::{Code, Error};
use crate::metrics::Metrics;

/// Publishes that may wait for the appender.
const QUEUE_MAX: usize = 4096;
/// Publishes, events and bytes of one call, unless a single publish has more. Redis serves no other client meanwhile: about
/// 5 µs for each event.
const BATCH_PUBLISHES_MAX: usize = 512;
const BATCH_EVENTS_MAX: usize = 2048;
const BATCH_BYTES_MAX: usize = 2 << 20;
/// How long an answer waits for the node's own log, so that a publisher that reads afterwards finds its event.
const PLACED_PATIENCE: Duration = Duration::from_millis(500);
/// Pause before a call is repeated that Redis did not apply.
const PAUSE: Duration = Duration::from_millis(50);

/// A publish in the queue: its events are appended together or not at all.
struct QueuedAppend {
    items: Vec<PendingEvent>,
    due: Instant,
    answer: AnswerSender,
}

/// Handle through which publishes reach the appender.
pub(crate) struct RedisBroker {
    queue: mpsc::Sender<QueuedAppend>,
    deadline: Duration,
    sync_state: Arc<SyncState>,
}

/// Task that appends publishes, one call to Redis after the other.
pub(crate) struct Appender {
    queue: mpsc::Receiver<QueuedAppend>,
    redis_log: Arc<RedisLog>,
    sync_state: Arc<SyncState>,
    metrics: Arc<Metrics>,
    random: fn() -> u64,
}

pub(super) fn appender(
    redis_log: Arc<RedisLog>,
    sync_state: Arc<SyncState>,
    metrics: Arc<Metrics>,
    deadline: Duration,
    random: fn() -> u64,
) -> (RedisBroker, Appender) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    (
        RedisBroker { queue: sender, deadline, sync_state: sync_state.clone() },
        Appender { queue, redis_log, sync_state, metrics, random },
    )
}

impl RedisBroker {
    /// Appends events and waits until Redis has them. Dropping the future does not cancel the publish.
    ///
    /// # Errors
    /// `not_stored` if the events are certainly not stored, `outcome_unknown` if Redis does not answer within `redis.deadline`.
    pub(crate) async fn append(&self, items: Vec<PendingEvent>) -> PublishResult {
        let (answer, answered) = oneshot::channel();
        let due = Instant::now() + self.deadline;
        match timeout_at(due, self.queue.send(QueuedAppend { items, due, answer })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(shutting_down()),
            Err(_) => return Err(not_stored("too many publishes wait for redis; try again")),
        }
        // The appender answers at `due`; the longer wait lets its answer arrive.
        let published = match timeout_at(due + PAUSE, answered).await {
            Ok(Ok(outcome)) => outcome?,
            _ => {
                return Err(publish_error(RedisError::OutcomeUnknown("redis did not answer in time".into())));
            }
        };
        if let Some(newest) = published.iter().filter_map(PublishOutcome::id).map(|id| id.offset).max() {
            let _placed_or_late = timeout(PLACED_PATIENCE, self.sync_state.wait_applied(newest)).await;
        }
        Ok(published)
    }
}

/// Publishes of one call.
#[derive(Default)]
struct AppendBatch {
    appends: Vec<Append>,
    /// Publishes with events to store, in the order of `appends`.
    stored: Vec<AppendWaiter>,
    /// Publishes with transient events only.
    live: Vec<AppendWaiter>,
    keys: InFlightKeys,
    events: usize,
    bytes: usize,
}

struct AppendWaiter {
    /// Transient events, each with its index in the publish.
    live: Vec<(usize, PendingEvent)>,
    due: Instant,
    answer: AnswerSender,
}

impl Appender {
    /// Appends until the [`RedisBroker`] is dropped and every publish is answered.
    pub(crate) async fn run(self) {
        let (transient, publisher) = transient_publisher(self.redis_log.clone());
        tokio::join!(self.append_all(transient), publisher.run());
    }

    /// Appends until the [`RedisBroker`] is dropped; passes transient events on.
    async fn append_all(mut self, transient: mpsc::Sender<TransientPublish>) {
        while let Some(first) = self.queue.recv().await {
            let mut next = Some(first);
            while let Some(first) = next {
                let add = |batch: &mut AppendBatch, publish| batch.add(publish, self.random);
                let (batch, repeat) = AppendBatch::collect(first, &mut self.queue, add);
                self.append(batch, &transient).await;
                next = repeat;
            }
        }
    }

    async fn append(&self, batch: AppendBatch, transient: &mpsc::Sender<TransientPublish>) {
        let AppendBatch { appends, stored, live, .. } = batch;
        let outcomes = if appends.is_empty() {
            Ok((Epoch(0), Vec::new()))
        } else {
            self.send_appends(&appends, &stored).await
        };
        match outcomes {
            Ok((epoch, outcomes)) => {
                for (waiting, outcome) in stored.into_iter().zip(outcomes) {
                    self.settle(waiting, epoch, outcome, transient).await;
                }
            }
            Err(fault) => {
                self.metrics.log.appends_failed.inc();
                for AppendWaiter { answer, .. } in stored {
                    let _ = answer.send(Err(publish_error(fault.clone())));
                }
            }
        }
        for waiting in live {
            let nothing = AppendOutcome::Appended(Vec::new());
            self.settle(waiting, self.sync_state.last_seen().epoch, nothing, transient).await;
        }
    }

    /// Repeats the call until Redis applies it or the first publish is due. Returns also the epoch of the appended events.
    async fn send_appends(
        &self,
        appends: &[Append],
        waiting: &[AppendWaiter],
    ) -> Result<(Epoch, Vec<AppendOutcome>), RedisError> {
        let due = waiting.iter().map(|waiting| waiting.due).min().unwrap_or_else(Instant::now);
        loop {
            let witness = self.sync_state.last_seen();
            let failed = match self.metrics.log.appends.time(self.redis_log.append(appends, witness)).await {
                Ok(outcomes) => {
                    self.sync_state.mark_healthy(SyncPart::Append);
                    return Ok((witness.epoch, outcomes));
                }
                Err(AppendError::Refused(refused)) => {
                    let reconciled = timeout_at(due, self.sync_state.reconcile()).await;
                    if reconciled.is_ok() {
                        continue;
                    }
                    RedisError::NotApplied(refused.to_string())
                }
                Err(AppendError::Fault(fault)) => fault,
            };
            self.sync_state.mark_unhealthy(SyncPart::Append, failed.to_string());
            let may_try_again = matches!(failed, RedisError::NotApplied(_) | RedisError::Moving(_))
                && Instant::now() + PAUSE < due;
            if !may_try_again {
                warn!(%failed, publishes = waiting.len(), "redis did not store publishes");
                return Err(failed);
            }
            sleep(PAUSE).await;
        }
    }

    /// Answers one publish. A publish with transient events is passed on, and answered after Redis has sent them.
    async fn settle(
        &self,
        waiting: AppendWaiter,
        epoch: Epoch,
        outcome: AppendOutcome,
        transient: &mpsc::Sender<TransientPublish>,
    ) {
        let AppendWaiter { live, answer, .. } = waiting;
        let appended = match outcome {
            AppendOutcome::Appended(appended) => appended,
            AppendOutcome::Conflict { index } => {
                let detail = "the idempotency key was used with other channels, event or data; use a new key for a new event";
                let _ = answer.send(Err(Error::new(Code::IdempotencyConflict, detail).at(index)));
                return;
            }
        };
        let published = |it: &Appended| PublishOutcome::Stored(EventId::new(epoch, it.offset, it.tag));
        let answers: Vec<PublishOutcome> = appended.iter().map(published).collect();
        // Repeats count too: the node reports the loss of every event that it has acknowledged.
        if let Some(newest) = appended.iter().max_by_key(|it| it.offset) {
            self.sync_state.observe(LastSeen { epoch, offset: newest.offset, tag: newest.tag });
        }
        let stored = appended.iter().filter(|it| !it.is_repeat).count();
        self.metrics.events.stored(stored);
        if live.is_empty() {
            let _ = answer.send(Ok(answers));
            return;
        }
        let after = self.sync_state.last_seen().offset;
        let events =
            live.into_iter().map(|(place, item)| (place, LiveEvent::new(&item.entry, after))).collect();
        // The receiver is dropped only together with this task.
        let _ = transient.send(TransientPublish { stored: answers, events, answer }).await;
    }
}

impl PublishBatch for AppendBatch {
    type Publish = QueuedAppend;

    fn repeats_key_of(&self, publish: &QueuedAppend) -> bool {
        self.keys.contains_any_of(&publish.items)
    }

    fn is_full(&self) -> bool {
        self.appends.len() >= BATCH_PUBLISHES_MAX
            || self.events >= BATCH_EVENTS_MAX
            || self.bytes >= BATCH_BYTES_MAX
    }
}

impl AppendBatch {
    fn add(&mut self, publish: QueuedAppend, random: fn() -> u64) {
        let QueuedAppend { items, due, answer } = publish;
        let (mut events, mut live) = (Vec::with_capacity(items.len()), Vec::new());
        for (place, item) in items.into_iter().enumerate() {
            self.bytes += item.entry.record_bytes();
            if !item.is_stored {
                live.push((place, item));
                continue;
            }
            self.keys.add(&item.entry);
            events.push(NewEvent::new(item.entry, random));
        }
        self.events += events.len();
        let waiting = AppendWaiter { live, due, answer };
        if events.is_empty() {
            self.live.push(waiting);
        } else {
            self.appends.push(Append { events });
            self.stored.push(waiting);
        }
    }
}
