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

use super::{Audience, Item, KeysUnderWay, Published, not_stored, shutting_down};
use crate::{
    config::bounds::BODY_BYTES,
    deferred_wake::{self, Ring},
    error::{Code, Error},
    failpoint,
    log::{
        Log,
        entry::{Draft, Entry, Unstored},
        idempotency::Known,
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
struct Publish {
    items: Vec<Item>,
    answer: oneshot::Sender<Result<Vec<Published>, Error>>,
}

/// Hands publishes to the writer.
pub(crate) struct Broker {
    /// None when it goes: the writer is to see that nobody is left.
    queue: Option<mpsc::Sender<Publish>>,
    bell: Arc<Bell>,
    log: Arc<Log>,
    committer: Arc<Mutex<Committer>>,
}

/// Takes them on its own thread.
pub(crate) struct Writer {
    queue: mpsc::Receiver<Publish>,
    bell: Arc<Bell>,
    committer: Arc<Mutex<Committer>>,
}

/// Puts publishes into the log, one group at a time, whichever thread it is on.
struct Committer {
    log: Arc<Log>,
    audience: Arc<dyn Audience>,
    metrics: Arc<Metrics>,
}

/// Makes a broker and its writer. The writer ends when the last broker is gone.
pub(crate) fn embedded(
    log: Arc<Log>,
    audience: Arc<dyn Audience>,
    metrics: Arc<Metrics>,
) -> (Broker, Writer) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let bell = Arc::new(Bell::default());
    let committer = Committer { log: log.clone(), audience, metrics };
    let committer = Arc::new(Mutex::new(Lock::Committer, committer));
    let broker = Broker { queue: Some(sender), bell: bell.clone(), log, committer: committer.clone() };
    (broker, Writer { queue, bell, committer })
}

/// Wakes the writer's thread, once that is known: before it sleeps for the first time it looks.
#[derive(Default)]
struct Bell(OnceLock<Thread>);

impl Ring for Bell {
    fn ring(&self) {
        self.0.get().inspect(|thread| thread.unpark());
    }
}

/// Wakes the writer if an append panics on the thread that brought it, so that the writer ends and the hub with it.
struct PanicWatch<'a>(&'a Arc<Bell>);

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.ring();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.queue = None;
        deferred_wake::ring(&self.bell);
    }
}

impl Broker {
    /// Appends events and waits until they are kept. Dropping the future does not take them back.
    ///
    /// # Errors
    /// `not_stored` where they surely are not kept, `outcome_unknown` where nobody knows within `deadline`.
    pub(crate) async fn append(&self, items: Vec<Item>) -> Result<Vec<Published>, Error> {
        if let Err(opening) = self.log.opened_soon().await {
            return Err(not_stored(format!("{opening}; nothing was stored; try again")));
        }
        let (answer, mut answered) = oneshot::channel();
        let queue = self.queue.as_ref().expect("it is there until the broker goes");
        let publish = Publish { items, answer };
        let Some(publish) = self.append_now(queue, publish) else {
            return answered.try_recv().unwrap_or_else(|_| Err(gone()));
        };
        let due = tokio::time::Instant::now() + DEADLINE;
        match tokio::time::timeout_at(due, queue.send(publish)).await {
            Ok(Ok(())) => deferred_wake::ring(&self.bell),
            Ok(Err(_)) => return Err(shutting_down()),
            Err(_) => return Err(not_stored("the log takes no more publishes now; try again")),
        }
        match tokio::time::timeout_at(due, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(unknown(
                "the log did not answer in time; the event may be stored; a retry with the same Idempotency-Key is safe",
            )),
        }
    }
}

impl Broker {
    /// Appends a small publish on this thread, where that waits for nothing: no other thread has to be woken for it, and
    /// none for its answer. Gives it back otherwise.
    fn append_now(&self, queue: &mpsc::Sender<Publish>, publish: Publish) -> Option<Publish> {
        if publish.items.len() > APPENDED_NOW_MAX || queue.capacity() < QUEUE_MAX {
            return Some(publish);
        }
        let _watch = PanicWatch(&self.bell);
        deferred_wake::together(|| {
            let Some(committer) = self.committer.try_lock() else { return Some(publish) };
            if self.committer.is_poisoned() {
                drop(committer);
                send(vec![(publish.answer, Err(panicked()))]);
                return None;
            }
            if !committer.log.appends_at_once() {
                return Some(publish);
            }
            let mut group = Group::default();
            committer.take(publish, &mut group);
            let answers = committer.commit(group, committer.metrics.appends().begin_sampled());
            drop(committer);
            send(answers);
            None
        })
    }
}

/// Publishes that are committed together.
#[derive(Default)]
struct Group {
    drafts: Vec<Draft>,
    keys: KeysUnderWay,
    waiting: Vec<Waiting>,
    /// Of publishes that are refused.
    refused: Vec<Answer>,
    bytes: usize,
}

/// What a publisher is answered. Its waker runs where the answer is sent, so no lock is held then.
type Answer = (oneshot::Sender<Result<Vec<Published>, Error>>, Result<Vec<Published>, Error>);

fn send(answers: Vec<Answer>) {
    sync::assert_none_held("a publisher is answered");
    for (to, answer) in answers {
        let _ = to.send(answer);
    }
}

/// A publish whose events are in the group.
struct Waiting {
    slots: Vec<Slot>,
    answer: oneshot::Sender<Result<Vec<Published>, Error>>,
}

/// What will be answered for one event.
enum Slot {
    /// It is the draft at this index of the group.
    Draft(usize),
    Repeat(EventId),
    /// It goes out after so many drafts of the group.
    Unstored {
        after_drafts: usize,
        draft: Box<Draft>,
    },
}

impl Writer {
    /// Serves until every [`Broker`] is gone and its publishes are answered.
    ///
    /// Returns early if an append has panicked on another thread: the log's state may be half changed then.
    pub(crate) fn run(mut self) {
        let _ = self.bell.0.set(thread::current());
        while let Some(first) = self.next() {
            failpoint::hit("tidings-writer");
            deferred_wake::together(|| send(self.commit_with_all_that_wait(first)));
            if self.committer.is_poisoned() {
                return;
            }
        }
    }

    /// Commits a publish, with those that came meanwhile. The answers are sent without the lock.
    fn commit_with_all_that_wait(&mut self, first: Publish) -> Vec<Answer> {
        let committer = self.committer.lock();
        if self.committer.is_poisoned() {
            return vec![(first.answer, Err(panicked()))];
        }
        let (mut group, mut answers) = (Group::default(), Vec::new());
        let mut next = Some(first);
        while let Some(publish) = next {
            if group.keys.has_one_of(&publish.items) {
                // Its first is under way in this very group: the repeat waits for it.
                answers.extend(
                    committer.commit(std::mem::take(&mut group), committer.metrics.appends().begin()),
                );
            }
            committer.take(publish, &mut group);
            let publishes = group.waiting.len() + group.refused.len();
            if publishes >= COMMIT_PUBLISHES_MAX || group.bytes >= COMMIT_BYTES_MAX {
                break;
            }
            next = self.queue.try_recv().ok();
        }
        answers.extend(committer.commit(group, committer.metrics.appends().begin()));
        answers
    }

    /// Waits for the next publish; none when nobody is left to bring one, or when an append has panicked.
    fn next(&mut self) -> Option<Publish> {
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
    fn take(&self, publish: Publish, group: &mut Group) {
        let Publish { items, answer } = publish;
        let known = match self.look_up(&items, group.keys.len()) {
            Ok(known) => known,
            Err(error) => {
                group.refused.push((answer, Err(error)));
                return;
            }
        };
        let slots = items.into_iter().zip(known).map(|(item, known)| group.add(item, known)).collect();
        group.waiting.push(Waiting { slots, answer });
    }

    /// What is known of each event's key.
    fn look_up(&self, items: &[Item], under_way: usize) -> Result<Vec<Option<EventId>>, Error> {
        let newest = self.log.newest();
        let mut keys = self.log.keys();
        keys.forget_old(self.log.now());
        let mut new = under_way;
        let known = items.iter().enumerate().map(|(index, item)| {
            let Some(idempotency) = &item.draft.idempotency else { return Ok(None) };
            match keys.look_up(idempotency) {
                Known::Repeat(answered) => Ok(Some(EventId::new(newest, answered.offset, answered.tag))),
                Known::Conflict => Err(Error::new(
                    Code::IdempotencyConflict,
                    format!(
                        "idempotency key {:?} was used with other channels, event or data; use a new key for a new event",
                        &*idempotency.key
                    ),
                )
                .at(index)),
                Known::New => {
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
    fn commit(&self, group: Group, timing: Timing) -> Vec<Answer> {
        let Group { drafts, waiting, refused: mut answers, .. } = group;
        let head = self.log.head().offset;
        let is_empty = drafts.is_empty();
        // What is not stored is left with its readers before they can see what was stored after it.
        let outcome = self.log.append_with(drafts, &mut || self.leave_unstored(&waiting, head));
        if !is_empty {
            self.metrics.appends().end(timing);
        }
        let entries = match outcome {
            Ok(entries) => entries,
            Err(error) => {
                self.metrics.append_failed();
                error!(%error, publishes = waiting.len(), "publishes were not stored");
                answers.extend(waiting.into_iter().map(|it| (it.answer, Err(refusal(&error)))));
                return answers;
            }
        };
        self.metrics.stored(entries.len());
        self.audience.stored(&entries);
        for (_, draft) in unstored(&waiting).filter(|(after_drafts, _)| *after_drafts > 0) {
            self.audience.wake(&draft.channels);
        }
        answers.extend(waiting.into_iter().map(|Waiting { slots, answer }| {
            (answer, Ok(slots.into_iter().map(|slot| settle(slot, &entries)).collect()))
        }));
        answers
    }

    fn leave_unstored(&self, waiting: &[Waiting], head: u64) {
        for (after_drafts, draft) in unstored(waiting) {
            let after = head + after_drafts as u64;
            let missed =
                self.audience.unstored(&draft.channels, &Unstored { after, frame: draft.frame_without_id() });
            self.metrics.unstored(missed);
        }
    }
}

/// The events that are not to be stored, with how many drafts of the group come before each.
fn unstored(waiting: &[Waiting]) -> impl Iterator<Item = (usize, &Draft)> {
    waiting.iter().flat_map(|waiting| &waiting.slots).filter_map(|slot| match slot {
        Slot::Unstored { after_drafts, draft } => Some((*after_drafts, &**draft)),
        Slot::Draft(_) | Slot::Repeat(_) => None,
    })
}

fn settle(slot: Slot, entries: &[Arc<Entry>]) -> Published {
    match slot {
        Slot::Draft(index) => {
            let entry = &entries[index];
            Published::Stored(EventId::new(entry.epoch, entry.offset, entry.tag))
        }
        Slot::Repeat(id) => Published::Stored(id),
        Slot::Unstored { .. } => Published::NotStored,
    }
}

impl Group {
    fn add(&mut self, item: Item, known: Option<EventId>) -> Slot {
        if let Some(id) = known {
            return Slot::Repeat(id);
        }
        if !item.is_stored {
            return Slot::Unstored { after_drafts: self.drafts.len(), draft: Box::new(item.draft) };
        }
        self.bytes += item.draft.record_bytes();
        self.keys.add(&item.draft);
        self.drafts.push(item.draft);
        Slot::Draft(self.drafts.len() - 1)
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

fn gone() -> Error {
    unknown("the writer of the log is gone; the event may be stored; the hub must be restarted")
}

fn unknown(detail: &'static str) -> Error {
    Error::new(Code::OutcomeUnknown, detail).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
