//! Appends what is published on this node: whatever waits goes to Redis in one call.

use std::{sync::Arc, time::Duration};

use tidings_protocol::{Epoch, EventId};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::warn;

use super::{
    Append, AppendError, Appended, Link, NewEvent, Outcome, Witness,
    error::Fault,
    node_messages::Live,
    sync_state::Sight,
    transient::{Transient, transient_publisher},
};
use crate::{
    broker::{Item, KeysUnderWay, Published, not_stored, shutting_down},
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
struct Publish {
    items: Vec<Item>,
    due: Instant,
    answer: oneshot::Sender<Result<Vec<Published>, Error>>,
}

/// Hands publishes to the appender.
pub(crate) struct Broker {
    queue: mpsc::Sender<Publish>,
    deadline: Duration,
    sight: Arc<Sight>,
}

/// Takes them, one call to Redis after the other.
pub(crate) struct Appender {
    queue: mpsc::Receiver<Publish>,
    link: Arc<Link>,
    sight: Arc<Sight>,
    metrics: Arc<Metrics>,
    random: fn() -> u64,
}

pub(super) fn appender(
    link: Arc<Link>,
    sight: Arc<Sight>,
    metrics: Arc<Metrics>,
    deadline: Duration,
    random: fn() -> u64,
) -> (Broker, Appender) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    (
        Broker { queue: sender, deadline, sight: sight.clone() },
        Appender { queue, link, sight, metrics, random },
    )
}

impl Broker {
    /// Appends events and waits until Redis has them. Dropping the future does not take them back.
    ///
    /// # Errors
    /// `not_stored` where they surely are not kept, `outcome_unknown` where nobody knows within `redis.deadline`.
    pub(crate) async fn append(&self, items: Vec<Item>) -> Result<Vec<Published>, Error> {
        let (answer, answered) = oneshot::channel();
        let due = Instant::now() + self.deadline;
        match timeout_at(due, self.queue.send(Publish { items, due, answer })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(shutting_down()),
            Err(_) => return Err(not_stored("too many publishes wait for redis; try again")),
        }
        // The appender answers by then; it is waited for a moment longer, so that its word counts.
        let published = match timeout_at(due + PAUSE, answered).await {
            Ok(Ok(outcome)) => outcome?,
            _ => return Err(Fault::Unknown("redis did not answer in time".into()).into_error()),
        };
        if let Some(newest) = published.iter().filter_map(Published::id).map(|id| id.offset).max() {
            let _placed_or_late = timeout(PLACED_PATIENCE, self.sight.placed(newest)).await;
        }
        Ok(published)
    }
}

/// Publishes of one call.
#[derive(Default)]
struct Batch {
    appends: Vec<Append>,
    /// Those that have something to store, in the order of `appends`.
    stored: Vec<Waiting>,
    /// Those that have nothing to store.
    live: Vec<Waiting>,
    keys: KeysUnderWay,
    events: usize,
    bytes: usize,
}

struct Waiting {
    /// What is not stored, by its place among the publish's events.
    live: Vec<(usize, Item)>,
    due: Instant,
    answer: oneshot::Sender<Result<Vec<Published>, Error>>,
}

impl Appender {
    /// Serves until the [`Broker`] is gone and its publishes are answered.
    pub(crate) async fn run(self) {
        let (transient, publisher) = transient_publisher(self.link.clone());
        tokio::join!(self.append_all(transient), publisher.run());
    }

    /// Serves until the [`Broker`] is gone; hands on what is not stored.
    async fn append_all(mut self, transient: mpsc::Sender<Transient>) {
        while let Some(first) = self.queue.recv().await {
            let mut next = Some(first);
            let mut batch = Batch::default();
            while let Some(publish) = next {
                if batch.keys.has_one_of(&publish.items) {
                    // Its first is under way in this very batch: the repeat waits for it.
                    self.append(std::mem::take(&mut batch), &transient).await;
                }
                batch.add(publish, self.random);
                next = if batch.is_full() { None } else { self.queue.try_recv().ok() };
            }
            self.append(batch, &transient).await;
        }
    }

    async fn append(&self, batch: Batch, transient: &mpsc::Sender<Transient>) {
        let Batch { appends, stored, live, .. } = batch;
        let outcomes =
            if appends.is_empty() { Ok((Epoch(0), Vec::new())) } else { self.ask(&appends, &stored).await };
        match outcomes {
            Ok((epoch, outcomes)) => {
                for (waiting, outcome) in stored.into_iter().zip(outcomes) {
                    self.settle(waiting, epoch, outcome, transient).await;
                }
            }
            Err(fault) => {
                self.metrics.append_failed();
                for Waiting { answer, .. } in stored {
                    let _ = answer.send(Err(fault.clone().into_error()));
                }
            }
        }
        for waiting in live {
            let nothing = Outcome::Appended(Vec::new());
            self.settle(waiting, self.sight.witness().epoch, nothing, transient).await;
        }
    }

    /// Asks until Redis has answered, or the first of them is due. Answers in which epoch they were appended, too.
    async fn ask(&self, appends: &[Append], waiting: &[Waiting]) -> Result<(Epoch, Vec<Outcome>), Fault> {
        let due = waiting.iter().map(|waiting| waiting.due).min().unwrap_or_else(Instant::now);
        loop {
            let witness = self.sight.witness();
            let failed = match self.metrics.appends().time(self.link.append(appends, witness)).await {
                Ok(outcomes) => {
                    self.sight.is_written();
                    return Ok((witness.epoch, outcomes));
                }
                Err(AppendError::Refused(refused)) => {
                    let looked = timeout_at(due, self.sight.look_over()).await;
                    if looked.is_ok() {
                        continue;
                    }
                    Fault::NotDone(AppendError::Refused(refused).to_string())
                }
                Err(AppendError::Fault(fault)) => fault,
            };
            self.sight.is_not_written(failed.to_string());
            let may_try_again =
                matches!(failed, Fault::NotDone(_) | Fault::Moving(_)) && Instant::now() + PAUSE < due;
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
        waiting: Waiting,
        epoch: Epoch,
        outcome: Outcome,
        transient: &mpsc::Sender<Transient>,
    ) {
        let Waiting { live, answer, .. } = waiting;
        let appended = match outcome {
            Outcome::Appended(appended) => appended,
            Outcome::Conflict { index } => {
                let detail = "the idempotency key was used with other channels, event or data; use a new key for a new event";
                let _ = answer.send(Err(Error::new(Code::IdempotencyConflict, detail).at(index)));
                return;
            }
        };
        let published = |it: &Appended| Published::Stored(EventId::new(epoch, it.offset, it.tag));
        let answers: Vec<Published> = appended.iter().map(published).collect();
        // A repeat, too: what this node has answered for it tells of if it is lost.
        if let Some(newest) = appended.iter().max_by_key(|it| it.offset) {
            self.sight.has_seen(Witness { epoch, offset: newest.offset, tag: newest.tag });
        }
        let stored = appended.iter().filter(|it| !it.is_repeat).count();
        self.metrics.stored(stored);
        if live.is_empty() {
            let _ = answer.send(Ok(answers));
            return;
        }
        let after = self.sight.witness().offset;
        let events = live.into_iter().map(|(place, item)| (place, Live::new(&item.draft, after))).collect();
        // It is gone only where this whole task is.
        let _ = transient.send(Transient { stored: answers, events, answer }).await;
    }
}

impl Batch {
    fn is_full(&self) -> bool {
        self.appends.len() >= BATCH_PUBLISHES_MAX
            || self.events >= BATCH_EVENTS_MAX
            || self.bytes >= BATCH_BYTES_MAX
    }

    fn add(&mut self, publish: Publish, random: fn() -> u64) {
        let Publish { items, due, answer } = publish;
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
        let waiting = Waiting { live, due, answer };
        if events.is_empty() {
            self.live.push(waiting);
        } else {
            self.appends.push(Append { events });
            self.stored.push(waiting);
        }
    }
}
