//! A node without a broker: publishes go into its log one group at a time. A small one is appended by the thread that
//! brings it, where that waits for nothing; the writer takes the others in batches, appends each batch with one commit,
//! tells the hub, then answers the publishers.

use std::{
    sync::{Arc, OnceLock},
    thread::{self, Thread},
    time::Duration,
};

use tidings_protocol::{EventId, body::BATCH_MESSAGES_MAX};
use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot,
};
use tracing::error;

use super::api::{DeliverySink, InFlightKeys, PendingEvent, PublishOutcome, not_stored, shutting_down};
use crate::{
    config::bounds::BODY_BYTES,
    deferred_wake::{self, Wakeable},
    error::{Code, Error},
    failpoint,
    log::{
        Log,
        entry::{Entry, NewEntry, TransientEvent},
        idempotency::KeyLookup,
        store::{RECORD_BYTES_BESIDE_TEXT_MAX, StoreError, disk::SEGMENT_BYTES_MAX},
    },
    metrics::{Metrics, Timing},
    sync::{self, Lock, Mutex},
};

/// How long a publish may take before its fate counts as unknown.
const DEADLINE: Duration = Duration::from_secs(5);
/// Publishes that may wait for the writer.
const QUEUE_MAX: usize = 4096;
/// Publishes that go into one commit.
const COMMIT_PUBLISHES_MAX: usize = 1024;
/// Events of a publish that is appended without the writer.
const APPENDED_NOW_MAX: usize = 64;
/// Bytes of records that go into one commit, unless a single publish brings more.
const COMMIT_BYTES_MAX: usize = 4 << 20;
/// Bytes of the records of one publish, at most.
const PUBLISH_BYTES_MAX: u64 =
    *BODY_BYTES.end() + BATCH_MESSAGES_MAX as u64 * RECORD_BYTES_BESIDE_TEXT_MAX as u64;

// A commit stands in one file, and positions in a file are 32 bits.
const _: () = assert!(SEGMENT_BYTES_MAX + COMMIT_BYTES_MAX as u64 + PUBLISH_BYTES_MAX <= u32::MAX as u64);

/// One publish: its events are stored together or not at all.
struct QueuedPublish {
    items: Vec<PendingEvent>,
    answer: oneshot::Sender<Result<Vec<PublishOutcome>, Error>>,
}

/// Hands publishes to the writer.
pub(crate) struct EmbeddedBroker {
    /// None when it goes: the writer is to see that nobody is left.
    queue: Option<mpsc::Sender<QueuedPublish>>,
    waker: Arc<WriterWaker>,
    log: Arc<Log>,
    committer: Arc<Mutex<Committer>>,
}

/// Takes them on its own thread.
pub(crate) struct Writer {
    queue: mpsc::Receiver<QueuedPublish>,
    waker: Arc<WriterWaker>,
    committer: Arc<Mutex<Committer>>,
}

/// Puts publishes into the log, one group at a time, whichever thread it is on.
struct Committer {
    log: Arc<Log>,
    sink: Arc<dyn DeliverySink>,
    metrics: Arc<Metrics>,
}

/// Makes a broker and its writer. The writer ends when the last broker is gone.
pub(crate) fn embedded(
    log: Arc<Log>,
    sink: Arc<dyn DeliverySink>,
    metrics: Arc<Metrics>,
) -> (EmbeddedBroker, Writer) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let waker = Arc::new(WriterWaker::default());
    let committer = Committer { log: log.clone(), sink, metrics };
    let committer = Arc::new(Mutex::new(Lock::Committer, committer));
    let broker =
        EmbeddedBroker { queue: Some(sender), waker: waker.clone(), log, committer: committer.clone() };
    (broker, Writer { queue, waker, committer })
}

/// Wakes the writer's thread, once that is known: before it sleeps for the first time it looks.
#[derive(Default)]
struct WriterWaker(OnceLock<Thread>);

impl Wakeable for WriterWaker {
    fn wake(&self) {
        self.0.get().inspect(|thread| thread.unpark());
    }
}

/// Wakes the writer if an append panics on the thread that brought it, so that the writer ends and the hub with it.
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
    /// Appends events and waits until they are kept. Dropping the future does not take them back.
    ///
    /// # Errors
    /// `not_stored` where they surely are not kept, `outcome_unknown` where nobody knows within `deadline`.
    pub(crate) async fn append(&self, items: Vec<PendingEvent>) -> Result<Vec<PublishOutcome>, Error> {
        if let Err(opening) = self.log.opened_soon().await {
            return Err(not_stored(format!("{opening}; nothing was stored; try again")));
        }
        let (answer, mut answered) = oneshot::channel();
        let queue = self.queue.as_ref().expect("it is there until the broker goes");
        let publish = QueuedPublish { items, answer };
        let Some(publish) = self.try_append_inline(queue, publish) else {
            return answered.try_recv().unwrap_or_else(|_| Err(closed_error()));
        };
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
}

impl EmbeddedBroker {
    /// Appends a small publish on this thread, where that waits for nothing: no other thread has to be woken for it, and
    /// none for its answer. Gives it back otherwise.
    fn try_append_inline(
        &self,
        queue: &mpsc::Sender<QueuedPublish>,
        publish: QueuedPublish,
    ) -> Option<QueuedPublish> {
        if publish.items.len() > APPENDED_NOW_MAX || queue.capacity() < QUEUE_MAX {
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
            let mut group = CommitBatch::default();
            committer.add_publish(publish, &mut group);
            let answers = committer.commit(group, committer.metrics.log.appends().begin_sampled());
            drop(committer);
            send_replies(answers);
            None
        })
    }
}

/// Publishes that are committed together.
#[derive(Default)]
struct CommitBatch {
    drafts: Vec<NewEntry>,
    keys: InFlightKeys,
    waiting: Vec<CommitWaiter>,
    /// Of publishes that are refused.
    refused: Vec<PublishReply>,
    bytes: usize,
}

/// What a publisher is answered. Its waker runs where the answer is sent, so no lock is held then.
type PublishReply = (oneshot::Sender<Result<Vec<PublishOutcome>, Error>>, Result<Vec<PublishOutcome>, Error>);

fn send_replies(answers: Vec<PublishReply>) {
    sync::assert_none_held("a publisher is answered");
    for (to, answer) in answers {
        let _ = to.send(answer);
    }
}

/// A publish whose events are in the group.
struct CommitWaiter {
    connection_permits: Vec<EventResult>,
    answer: oneshot::Sender<Result<Vec<PublishOutcome>, Error>>,
}

/// What will be answered for one event.
enum EventResult {
    /// It is the draft at this index of the group.
    Draft(usize),
    Repeat(EventId),
    /// It goes out after so many drafts of the group.
    Unstored {
        after_drafts: usize,
        draft: Box<NewEntry>,
    },
}

impl Writer {
    /// Serves until every [`EmbeddedBroker`] is gone and its publishes are answered.
    ///
    /// Returns early if an append has panicked on another thread: the log's state may be half changed then.
    pub(crate) fn run(mut self) {
        let _ = self.waker.0.set(thread::current());
        while let Some(first) = self.next() {
            failpoint::hit("tidings-writer");
            deferred_wake::batch_wakes(|| send_replies(self.commit_with_all_that_wait(first)));
            if self.committer.is_poisoned() {
                return;
            }
        }
    }

    /// Commits a publish, with those that came meanwhile. The answers are sent without the lock.
    fn commit_with_all_that_wait(&mut self, first: QueuedPublish) -> Vec<PublishReply> {
        let committer = self.committer.lock();
        if self.committer.is_poisoned() {
            return vec![(first.answer, Err(panicked()))];
        }
        let (mut group, mut answers) = (CommitBatch::default(), Vec::new());
        let mut next = Some(first);
        while let Some(publish) = next {
            if group.keys.contains_any_of(&publish.items) {
                // Its first is under way in this very group: the repeat waits for it.
                answers.extend(
                    committer.commit(std::mem::take(&mut group), committer.metrics.log.appends().begin()),
                );
            }
            committer.add_publish(publish, &mut group);
            let publishes = group.waiting.len() + group.refused.len();
            if publishes >= COMMIT_PUBLISHES_MAX || group.bytes >= COMMIT_BYTES_MAX {
                break;
            }
            next = self.queue.try_recv().ok();
        }
        answers.extend(committer.commit(group, committer.metrics.log.appends().begin()));
        answers
    }

    /// Waits for the next publish; none when nobody is left to bring one, or when an append has panicked.
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
    /// Puts a publish into the group, with the refusal where its keys do not allow it.
    fn add_publish(&self, publish: QueuedPublish, group: &mut CommitBatch) {
        let QueuedPublish { items, answer } = publish;
        let known = match self.look_up(&items, group.keys.len()) {
            Ok(known) => known,
            Err(error) => {
                group.refused.push((answer, Err(error)));
                return;
            }
        };
        let connection_permits =
            items.into_iter().zip(known).map(|(item, known)| group.add(item, known)).collect();
        group.waiting.push(CommitWaiter { connection_permits, answer });
    }

    /// What is known of each event's key.
    fn look_up(&self, items: &[PendingEvent], under_way: usize) -> Result<Vec<Option<EventId>>, Error> {
        let newest = self.log.newest();
        let mut keys = self.log.keys();
        keys.forget_old(self.log.now());
        let mut new = under_way;
        let known = items.iter().enumerate().map(|(index, item)| {
            let Some(idempotency) = &item.draft.idempotency else { return Ok(None) };
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

    /// Appends the group and tells the hub. Returns what its publishers are to be answered.
    fn commit(&self, group: CommitBatch, timing: Timing) -> Vec<PublishReply> {
        let CommitBatch { drafts, waiting, refused: mut answers, .. } = group;
        let head = self.log.head().offset;
        let is_empty = drafts.is_empty();
        // What is not stored is left with its readers before they can see what was stored after it.
        let outcome = self.log.append_with(drafts, &mut || self.deliver_transient(&waiting, head));
        if !is_empty {
            self.metrics.log.appends().end(timing);
        }
        let entries = match outcome {
            Ok(entries) => entries,
            Err(error) => {
                self.metrics.log.append_failed();
                error!(%error, publishes = waiting.len(), "publishes were not stored");
                answers.extend(waiting.into_iter().map(|it| (it.answer, Err(refusal(&error)))));
                return answers;
            }
        };
        self.metrics.events.stored(entries.len());
        self.sink.on_appended(&entries);
        for (_, draft) in transient(&waiting).filter(|(after_drafts, _)| *after_drafts > 0) {
            self.sink.wake(&draft.channels);
        }
        answers.extend(waiting.into_iter().map(|CommitWaiter { connection_permits, answer }| {
            (answer, Ok(connection_permits.into_iter().map(|slot| settle(slot, &entries)).collect()))
        }));
        answers
    }

    fn deliver_transient(&self, waiting: &[CommitWaiter], head: u64) {
        for (after_drafts, draft) in transient(waiting) {
            let after = head + after_drafts as u64;
            let missed = self.sink.deliver_transient(
                &draft.channels,
                &TransientEvent { after, frame: draft.frame_without_id() },
            );
            self.metrics.events.transient(missed);
        }
    }
}

/// The events that are not to be stored, with how many drafts of the group come before each.
fn transient(waiting: &[CommitWaiter]) -> impl Iterator<Item = (usize, &NewEntry)> {
    waiting.iter().flat_map(|waiting| &waiting.connection_permits).filter_map(|slot| match slot {
        EventResult::Unstored { after_drafts, draft } => Some((*after_drafts, &**draft)),
        EventResult::Draft(_) | EventResult::Repeat(_) => None,
    })
}

fn settle(slot: EventResult, entries: &[Arc<Entry>]) -> PublishOutcome {
    match slot {
        EventResult::Draft(index) => {
            let entry = &entries[index];
            PublishOutcome::Stored(EventId::new(entry.epoch, entry.offset, entry.tag))
        }
        EventResult::Repeat(id) => PublishOutcome::Stored(id),
        EventResult::Unstored { .. } => PublishOutcome::NotStored,
    }
}

impl CommitBatch {
    fn add(&mut self, item: PendingEvent, known: Option<EventId>) -> EventResult {
        if let Some(id) = known {
            return EventResult::Repeat(id);
        }
        if !item.is_stored {
            return EventResult::Unstored { after_drafts: self.drafts.len(), draft: Box::new(item.draft) };
        }
        self.bytes += item.draft.record_bytes();
        self.keys.add(&item.draft);
        self.drafts.push(item.draft);
        EventResult::Draft(self.drafts.len() - 1)
    }
}

fn refusal(error: &StoreError) -> Error {
    match error {
        StoreError::Unknown(_) => {
            unknown("the log could not be made safe; the event may be stored; the hub must be restarted")
        }
        // Only a restart helps, so a client need not ask again soon.
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

/// Nothing is appended after a panic: the log's state may be half changed.
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
