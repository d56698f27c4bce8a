//! The broker of a single node: publishes go into its own log, one batch at a time. The publisher's thread commits a small
//! publish if that waits for nothing. The writer thread commits the others in batches, notifies the hub, and answers the
//! publishers.

use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use tidings_log::{
    Entry, KeyLookup, Log, NewEntry, RECORD_BYTES_BESIDE_TEXT_MAX, SEGMENT_BYTES_MAX, StoreError,
    TransientEvent,
};
use tidings_protocol::{EventId, body::BATCH_MESSAGES_MAX};
use tidings_sync::{Mutex, Timing};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::oneshot;
use tracing::error;

use super::api::{DeliverySink, PendingEvent, PublishOutcome, not_stored, opened_soon, shutting_down};
use super::batch::{AnswerSender, InFlightKeys, PublishBatch, PublishResult};
use crate::config::bounds::BODY_BYTES;
use crate::deferred_wake::{self, Wakeable};
use crate::error::{Code, Error};
use crate::metrics::Metrics;
use crate::{failpoint, lock};

/// Time of a publish after which its outcome counts as unknown.
const DEADLINE: Duration = Duration::from_secs(5);
/// Publishes that may wait for the writer.
const QUEUE_MAX: usize = 4096;
/// Publishes that go into one commit.
const COMMIT_PUBLISHES_MAX: usize = 1024;
/// Events of a publish that its own thread may append.
const INLINE_EVENTS_MAX: usize = 64;
/// Bytes of records that go into one commit, unless a single publish brings more.
const COMMIT_BYTES_MAX: usize = 4 << 20;
/// Maximum bytes of the records of one publish.
const PUBLISH_BYTES_MAX: u64 =
    *BODY_BYTES.end() + BATCH_MESSAGES_MAX as u64 * RECORD_BYTES_BESIDE_TEXT_MAX as u64;

// A commit is in one file, and positions in a file have 32 bits.
const _: () = assert!(SEGMENT_BYTES_MAX + COMMIT_BYTES_MAX as u64 + PUBLISH_BYTES_MAX <= u32::MAX as u64);

/// One publish: its events are stored together or not at all.
struct QueuedPublish {
    items: Vec<PendingEvent>,
    answer: AnswerSender,
}

/// Handle that appends publishes, or queues them for the writer.
pub(crate) struct EmbeddedBroker {
    /// `None` while it is dropped: the writer must see that the queue is closed.
    queue: Option<mpsc::Sender<QueuedPublish>>,
    waker: Arc<WriterWaker>,
    log: Arc<Log>,
    committer: Arc<Mutex<Committer>>,
}

/// Commits queued publishes on its own thread.
pub(crate) struct Writer {
    queue: mpsc::Receiver<QueuedPublish>,
    waker: Arc<WriterWaker>,
    committer: Arc<Mutex<Committer>>,
}

/// Commits one batch at a time, on the thread that has the lock.
struct Committer {
    log: Arc<Log>,
    sink: Arc<dyn DeliverySink>,
    metrics: Arc<Metrics>,
}

/// Returns a broker and its writer. The writer ends when the broker is dropped.
pub(crate) fn embedded(
    log: Arc<Log>,
    sink: Arc<dyn DeliverySink>,
    metrics: Arc<Metrics>,
) -> (EmbeddedBroker, Writer) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let waker = Arc::new(WriterWaker::default());
    let committer = Committer { log: log.clone(), sink, metrics };
    let committer = Arc::new(Mutex::new(&lock::COMMITTER, committer));
    let broker =
        EmbeddedBroker { queue: Some(sender), waker: waker.clone(), log, committer: committer.clone() };
    (broker, Writer { queue, waker, committer })
}

/// Wakes the thread of the writer, once it runs. It checks the queue before it sleeps for the first time.
#[derive(Default)]
struct WriterWaker(OnceLock<Thread>);

impl Wakeable for WriterWaker {
    fn wake(&self) {
        self.0.get().inspect(|thread| thread.unpark());
    }
}

/// Wakes the writer if an append panics on the publisher's thread, so that the writer ends, and the hub with it.
struct PanicWatch<'a>(&'a Arc<WriterWaker>);

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.wake();
        }
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.queue = None;
        deferred_wake::wake_or_defer(&self.waker);
    }
}

impl EmbeddedBroker {
    /// Appends events and waits until they are stored. Dropping the future does not cancel the append.
    ///
    /// # Errors
    /// `not_stored` if they are not stored; `outcome_unknown` if the log does not answer within [`DEADLINE`].
    pub(crate) async fn append(&self, items: Vec<PendingEvent>) -> PublishResult {
        let (answer, mut answered) = oneshot::channel();
        let queue = self.queue.as_ref().expect("the queue is open until the broker is dropped");
        let publish = QueuedPublish { items, answer };
        let Some(publish) = self.try_append_inline(queue, publish) else {
            return answered.try_recv().unwrap_or_else(|_| Err(closed_error()));
        };
        if let Err(opening) = opened_soon(&self.log).await {
            return Err(not_stored(format!("{opening}; nothing was stored; try again")));
        }
        let due = tokio::time::Instant::now() + DEADLINE;
        match tokio::time::timeout_at(due, queue.send(publish)).await {
            Ok(Ok(())) => deferred_wake::wake_or_defer(&self.waker),
            Ok(Err(_)) => return Err(shutting_down()),
            Err(_) => return Err(not_stored("the log takes no more publishes now; try again")),
        }
        match tokio::time::timeout_at(due, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(closed_error()),
            Err(_) => Err(unknown(
                "the log did not answer in time; the event may be stored; a retry with the same Idempotency-Key is safe",
            )),
        }
    }

    /// Appends a small publish on this thread, if that waits for nothing: then no other thread has to be woken. Returns the
    /// publish otherwise.
    fn try_append_inline(
        &self,
        queue: &mpsc::Sender<QueuedPublish>,
        publish: QueuedPublish,
    ) -> Option<QueuedPublish> {
        if publish.items.len() > INLINE_EVENTS_MAX || queue.capacity() < QUEUE_MAX {
            return Some(publish);
        }
        let _watch = PanicWatch(&self.waker);
        deferred_wake::batch_wakes(|| {
            let Some(committer) = self.committer.try_lock() else { return Some(publish) };
            if self.committer.is_poisoned() {
                drop(committer);
                send_replies(vec![(publish.answer, Err(panicked()))]);
                return None;
            }
            if !committer.log.can_append_without_blocking() {
                return Some(publish);
            }
            let mut batch = CommitBatch::default();
            committer.add_publish(publish, &mut batch);
            let answers = committer.commit(batch, committer.metrics.log.appends.begin_sampled());
            drop(committer);
            send_replies(answers);
            None
        })
    }
}

/// Publishes that are committed together.
#[derive(Default)]
struct CommitBatch {
    entries: Vec<NewEntry>,
    keys: InFlightKeys,
    waiting: Vec<CommitWaiter>,
    /// Answers to refused publishes.
    refused: Vec<PublishReply>,
    bytes: usize,
}

/// Answer to a publisher. Sending it runs a waker, so no lock may be held.
type PublishReply = (AnswerSender, PublishResult);

fn send_replies(answers: Vec<PublishReply>) {
    tidings_sync::assert_none_held("a publisher is answered");
    for (to, answer) in answers {
        let _ = to.send(answer);
    }
}

/// A publish whose events are in the batch.
struct CommitWaiter {
    results: Vec<EventResult>,
    answer: AnswerSender,
}

/// Answer to be given for one event.
enum EventResult {
    /// Stored as the new entry at this index of the batch.
    New(usize),
    Repeat(EventId),
    /// Not stored; delivered after this number of new entries of the batch.
    Transient {
        after_entries: usize,
        entry: Box<NewEntry>,
    },
}

impl Writer {
    /// Serves until the [`EmbeddedBroker`] is dropped and its publishes are answered.
    ///
    /// Returns early if an append has panicked on another thread: the log may be half changed.
    pub(crate) fn run(mut self) {
        let _ = self.waker.0.set(thread::current());
        while let Some(first) = self.next() {
            failpoint::hit("tidings-writer");
            deferred_wake::batch_wakes(|| send_replies(self.commit_queued(first)));
            if self.committer.is_poisoned() {
                return;
            }
        }
    }

    /// Commits a publish and the queued ones. Returns their answers, which are sent without the lock.
    fn commit_queued(&mut self, first: QueuedPublish) -> Vec<PublishReply> {
        let committer = self.committer.lock();
        if self.committer.is_poisoned() {
            return vec![(first.answer, Err(panicked()))];
        }
        let mut answers = Vec::new();
        let mut next = Some(first);
        while let Some(first) = next {
            let add = |batch: &mut CommitBatch, publish| committer.add_publish(publish, batch);
            let (batch, repeat) = CommitBatch::collect(first, &mut self.queue, add);
            answers.extend(committer.commit(batch, committer.metrics.log.appends.begin()));
            next = repeat;
        }
        answers
    }

    /// Waits for the next publish; `None` if the queue is closed, or an append has panicked.
    fn next(&mut self) -> Option<QueuedPublish> {
        loop {
            match self.queue.try_recv() {
                Ok(publish) => return Some(publish),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) if self.committer.is_poisoned() => return None,
                Err(TryRecvError::Empty) => thread::park(),
            }
        }
    }
}

impl Committer {
    /// Adds a publish to the batch, or its refusal if an idempotency key does not allow it.
    fn add_publish(&self, publish: QueuedPublish, batch: &mut CommitBatch) {
        let QueuedPublish { items, answer } = publish;
        let known = match self.look_up(&items, batch.keys.len()) {
            Ok(known) => known,
            Err(error) => {
                batch.refused.push((answer, Err(error)));
                return;
            }
        };
        let results = items.into_iter().zip(known).map(|(item, known)| batch.add(item, known)).collect();
        batch.waiting.push(CommitWaiter { results, answer });
    }

    /// Looks up the idempotency key of each event: the id of the first publish with it, if there is one.
    fn look_up(&self, items: &[PendingEvent], under_way: usize) -> Result<Vec<Option<EventId>>, Error> {
        let newest = self.log.newest();
        let mut keys = self.log.keys();
        keys.forget_old(self.log.now());
        let mut new = under_way;
        let known = items.iter().enumerate().map(|(index, item)| {
            let Some(idempotency) = &item.entry.idempotency else { return Ok(None) };
            match keys.look_up(idempotency) {
                KeyLookup::Repeat(answered) => Ok(Some(EventId::new(newest, answered.offset, answered.tag))),
                KeyLookup::Conflict => Err(Error::new(
                    Code::IdempotencyConflict,
                    format!(
                        "idempotency key {:?} was used with other channels, event or data; use a new key for a new event",
                        &*idempotency.key
                    ),
                )
                .at(index)),
                KeyLookup::New => {
                    new += 1;
                    Ok(None)
                }
            }
        });
        let known = known.collect::<Result<Vec<_>, _>>()?;
        if new > 0 && !keys.has_room(new) {
            return Err(Error::new(
                Code::IdempotencyKeysFull,
                format!("{} idempotency keys are remembered, as many as log.idempotency_keys allows; publish without one, or later", keys.len()),
            )
            .limit("idempotency_keys")
            .retry_after(Duration::from_secs(10)));
        }
        Ok(known)
    }

    /// Appends the batch and notifies the hub. Returns the answers to its publishers.
    fn commit(&self, batch: CommitBatch, timing: Timing) -> Vec<PublishReply> {
        let CommitBatch { entries, waiting, refused: mut answers, .. } = batch;
        let head = self.log.head().offset;
        let is_empty = entries.is_empty();
        // Transient events go to their connections before these can see entries that are appended after them.
        let outcome = self.log.append_with(entries, &mut || self.deliver_transient(&waiting, head));
        if !is_empty {
            self.metrics.log.appends.end(timing);
        }
        let entries = match outcome {
            Ok(entries) => entries,
            Err(error) => {
                self.metrics.log.appends_failed.inc();
                error!(%error, publishes = waiting.len(), "publishes were not stored");
                answers.extend(waiting.into_iter().map(|it| (it.answer, Err(refusal(&error)))));
                return answers;
            }
        };
        self.metrics.events.stored(entries.len());
        self.sink.on_appended(&entries);
        for (_, entry) in transient(&waiting).filter(|(after_entries, _)| *after_entries > 0) {
            self.sink.wake(&entry.channels);
        }
        answers.extend(waiting.into_iter().map(|CommitWaiter { results, answer }| {
            (answer, Ok(results.into_iter().map(|result| settle(result, &entries)).collect()))
        }));
        answers
    }

    fn deliver_transient(&self, waiting: &[CommitWaiter], head: u64) {
        for (after_entries, entry) in transient(waiting) {
            let after = head + after_entries as u64;
            let missed = self.sink.deliver_transient(
                &entry.channels,
                &TransientEvent { after, frame: entry.frame_without_id() },
            );
            self.metrics.events.transient(missed);
        }
    }
}

/// The transient events of the batch, each with the number of new entries before it.
fn transient(waiting: &[CommitWaiter]) -> impl Iterator<Item = (usize, &NewEntry)> {
    waiting.iter().flat_map(|waiting| &waiting.results).filter_map(|result| match result {
        EventResult::Transient { after_entries, entry } => Some((*after_entries, &**entry)),
        EventResult::New(_) | EventResult::Repeat(_) => None,
    })
}

fn settle(result: EventResult, entries: &[Arc<Entry>]) -> PublishOutcome {
    match result {
        EventResult::New(index) => {
            let entry = &entries[index];
            PublishOutcome::Stored(EventId::new(entry.epoch, entry.offset, entry.tag))
        }
        EventResult::Repeat(id) => PublishOutcome::Stored(id),
        EventResult::Transient { .. } => PublishOutcome::NotStored,
    }
}

impl PublishBatch for CommitBatch {
    type Publish = QueuedPublish;

    fn repeats_key_of(&self, publish: &QueuedPublish) -> bool {
        self.keys.contains_any_of(&publish.items)
    }

    fn is_full(&self) -> bool {
        let publishes = self.waiting.len() + self.refused.len();
        publishes >= COMMIT_PUBLISHES_MAX || self.bytes >= COMMIT_BYTES_MAX
    }
}

impl CommitBatch {
    fn add(&mut self, item: PendingEvent, known: Option<EventId>) -> EventResult {
        if let Some(id) = known {
            return EventResult::Repeat(id);
        }
        if !item.is_stored {
            return EventResult::Transient { after_entries: self.entries.len(), entry: Box::new(item.entry) };
        }
        self.bytes += item.entry.record_bytes();
        self.keys.add(&item.entry);
        self.entries.push(item.entry);
        EventResult::New(self.entries.len() - 1)
    }
}

fn refusal(error: &StoreError) -> Error {
    match error {
        StoreError::Unknown(_) => {
            unknown("the log could not be made safe; the event may be stored; the hub must be restarted")
        }
        // Only a restart helps, so a client should not retry soon.
        StoreError::ReadOnly(_) => {
            not_stored("the log is read-only after a fault; the hub must be restarted")
                .retry_after(Duration::from_secs(60))
        }
        StoreError::NotStored(source) if source.kind() == std::io::ErrorKind::StorageFull => {
            not_stored("the disk of the log is full; try again when there is room")
        }
        _ => not_stored("the log could not be written; the hub's own log says why"),
    }
}

/// Nothing is appended after a panic: the log may be half changed.
fn panicked() -> Error {
    not_stored("the log takes nothing more after a fault of the hub; the hub must be restarted")
        .retry_after(Duration::from_secs(60))
}

fn closed_error() -> Error {
    unknown("the writer of the log is gone; the event may be stored; the hub must be restarted")
}

fn unknown(detail: &'static str) -> Error {
    Error::new(Code::OutcomeUnknown, detail).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
