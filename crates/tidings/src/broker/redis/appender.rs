//! Appends what is published on this node: whatever waits goes to Redis in one call.

use std::{sync::Arc, time::Duration};

use tidings_protocol::{Epoch, EventId};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::warn;

use super::{
    Append, AppendError, AppendOutcome, Appended, LastSeen, NewEvent, RedisLog,
    error::RedisError,
    node_messages::LiveEvent,
    sync_state::SyncState,
    transient::{TransientPublish, transient_publisher},
};
use crate::{
    broker::{InFlightKeys, PendingEvent, PublishOutcome, not_stored, shutting_down},
    error::{Code, Error},
    metrics::Metrics,
};

/// Publishes that may wait for the appender.
const QUEUE_MAX: usize = 4096;
/// Publishes, events and text that go into one call, unless a single publish brings more: Redis serves nobody else meanwhile,
/// some 5 µs for each event.
const BATCH_PUBLISHES_MAX: usize = 512;
const BATCH_EVENTS_MAX: usize = 2048;
const BATCH_BYTES_MAX: usize = 2 << 20;
/// How long an answer waits for the node's own log to have what Redis has: who publishes and then reads, finds it.
const PLACED_PATIENCE: Duration = Duration::from_millis(500);
/// How long it waits before it asks again where Redis did nothing.
const PAUSE: Duration = Duration::from_millis(50);

/// One publish: its events are appended together or not at all.
struct QueuedAppend {
    items: Vec<PendingEvent>,
    due: Instant,
    answer: oneshot::Sender<Result<Vec<PublishOutcome>, Error>>,
}

/// Hands publishes to the appender.
pub(crate) struct RedisBroker {
    queue: mpsc::Sender<QueuedAppend>,
    deadline: Duration,
    sync_state: Arc<SyncState>,
}

/// Takes them, one call to Redis after the other.
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
    /// Appends events and waits until Redis has them. Dropping the future does not take them back.
    ///
    /// # Errors
    /// `not_stored` where they surely are not kept, `outcome_unknown` where nobody knows within `redis.deadline`.
    pub(crate) async fn append(&self, items: Vec<PendingEvent>) -> Result<Vec<PublishOutcome>, Error> {
        let (answer, answered) = oneshot::channel();
        let due = Instant::now() + self.deadline;
        match timeout_at(due, self.queue.send(QueuedAppend { items, due, answer })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(shutting_down()),
            Err(_) => return Err(not_stored("too many publishes wait for redis; try again")),
        }
        // The appender answers by then; it is waited for a moment longer, so that its word counts.
        let published = match timeout_at(due + PAUSE, answered).await {
            Ok(Ok(outcome)) => outcome?,
            _ => return Err(RedisError::OutcomeUnknown("redis did not answer in time".into()).into_error()),
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
    /// Those that have something to store, in the order of `appends`.
    stored: Vec<AppendWaiter>,
    /// Those that have nothing to store.
    live: Vec<AppendWaiter>,
    keys: InFlightKeys,
    events: usize,
    bytes: usize,
}

struct AppendWaiter {
    /// What is not stored, by its place among the publish's events.
    live: Vec<(usize, PendingEvent)>,
    due: Instant,
    answer: oneshot::Sender<Result<Vec<PublishOutcome>, Error>>,
}

impl Appender {
    /// Serves until the [`RedisBroker`] is gone and its publishes are answered.
    pub(crate) async fn run(self) {
        let (transient, publisher) = transient_publisher(self.redis_log.clone());
        tokio::join!(self.append_all(transient), publisher.run());
    }

    /// Serves until the [`RedisBroker`] is gone; hands on what is not stored.
    async fn append_all(mut self, transient: mpsc::Sender<TransientPublish>) {
        while let Some(first) = self.queue.recv().await {
            let mut next = Some(first);
            let mut batch = AppendBatch::default();
            while let Some(publish) = next {
                if batch.keys.contains_any_of(&publish.items) {
                    // Its first is under way in this very batch: the repeat waits for it.
                    self.append(std::mem::take(&mut batch), &transient).await;
                }
                batch.add(publish, self.random);
                next = if batch.is_full() { None } else { self.queue.try_recv().ok() };
            }
            self.append(batch, &transient).await;
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
                self.metrics.append_failed();
                for AppendWaiter { answer, .. } in stored {
                    let _ = answer.send(Err(fault.clone().into_error()));
                }
            }
        }
        for waiting in live {
            let nothing = AppendOutcome::Appended(Vec::new());
            self.settle(waiting, self.sync_state.last_seen().epoch, nothing, transient).await;
        }
    }

    /// Asks until Redis has answered, or the first of them is due. Answers in which epoch they were appended, too.
    async fn send_appends(
        &self,
        appends: &[Append],
        waiting: &[AppendWaiter],
    ) -> Result<(Epoch, Vec<AppendOutcome>), RedisError> {
        let due = waiting.iter().map(|waiting| waiting.due).min().unwrap_or_else(Instant::now);
        loop {
            let witness = self.sync_state.last_seen();
            let failed = match self.metrics.appends().time(self.redis_log.append(appends, witness)).await {
                Ok(outcomes) => {
                    self.sync_state.is_written();
                    return Ok((witness.epoch, outcomes));
                }
                Err(AppendError::Refused(refused)) => {
                    let looked = timeout_at(due, self.sync_state.reconcile()).await;
                    if looked.is_ok() {
                        continue;
                    }
                    RedisError::NotApplied(AppendError::Refused(refused).to_string())
                }
                Err(AppendError::Fault(fault)) => fault,
            };
            self.sync_state.is_not_written(failed.to_string());
            let may_try_again = matches!(failed, RedisError::NotApplied(_) | RedisError::Moving(_))
                && Instant::now() + PAUSE < due;
            if !may_try_again {
                warn!(%failed, publishes = waiting.len(), "redis did not take what was published");
                return Err(failed);
            }
            sleep(PAUSE).await;
        }
    }

    /// Answers one publish; where something of it is not stored, hands it on, to be answered when that was sent.
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
        // A repeat, too: what this node has answered for it tells of if it is lost.
        if let Some(newest) = appended.iter().max_by_key(|it| it.offset) {
            self.sync_state.observe(LastSeen { epoch, offset: newest.offset, tag: newest.tag });
        }
        let stored = appended.iter().filter(|it| !it.is_repeat).count();
        self.metrics.stored(stored);
        if live.is_empty() {
            let _ = answer.send(Ok(answers));
            return;
        }
        let after = self.sync_state.last_seen().offset;
        let events =
            live.into_iter().map(|(place, item)| (place, LiveEvent::new(&item.draft, after))).collect();
        // It is gone only where this whole task is.
        let _ = transient.send(TransientPublish { stored: answers, events, answer }).await;
    }
}

impl AppendBatch {
    fn is_full(&self) -> bool {
        self.appends.len() >= BATCH_PUBLISHES_MAX
            || self.events >= BATCH_EVENTS_MAX
            || self.bytes >= BATCH_BYTES_MAX
    }

    fn add(&mut self, publish: QueuedAppend, random: fn() -> u64) {
        let QueuedAppend { items, due, answer } = publish;
        let (mut events, mut live) = (Vec::with_capacity(items.len()), Vec::new());
        for (place, item) in items.into_iter().enumerate() {
            self.bytes += item.draft.record_bytes();
            if !item.is_stored {
                live.push((place, item));
                continue;
            }
            self.keys.add(&item.draft);
            events.push(NewEvent::new(item.draft, random));
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
