//! The one writer of a node without a broker: takes publishes in batches, appends each batch with one commit, tells
//! the hub, then answers the publishers.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tidings_protocol::EventId;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::{Audience, Item, Published};
use crate::{
    error::{Code, Error},
    log::{
        Log,
        entry::{Draft, Entry, Unstored},
        idempotency::Known,
        store::StoreError,
    },
    metrics::Metrics,
};

/// Publishes that may wait for the writer.
const QUEUE_MAX: usize = 4096;
/// Publishes that go into one commit.
const COMMIT_PUBLISHES_MAX: usize = 1024;
/// Text that goes into one commit, unless a single publish brings more.
const COMMIT_BYTES_MAX: usize = 4 << 20;

/// One publish: its events are stored together or not at all.
struct Publish {
    items: Vec<Item>,
    answer: oneshot::Sender<Result<Vec<Published>, Error>>,
}

/// Hands publishes to the writer.
#[derive(Clone)]
pub(crate) struct Broker {
    queue: mpsc::Sender<Publish>,
}

/// Takes them on its own thread.
pub(crate) struct Writer {
    queue: mpsc::Receiver<Publish>,
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
    (Broker { queue: sender }, Writer { queue, log, audience, metrics })
}

impl Broker {
    /// Appends events and waits until they are kept. Dropping the future does not take them back.
    ///
    /// # Errors
    /// `not_stored` where they surely are not kept, `outcome_unknown` where nobody knows within `deadline`.
    pub(crate) async fn append(&self, items: Vec<Item>, deadline: Duration) -> Result<Vec<Published>, Error> {
        let (answer, answered) = oneshot::channel();
        let due = tokio::time::Instant::now() + deadline;
        match tokio::time::timeout_at(due, self.queue.send(Publish { items, answer })).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                return Err(Error::new(
                    Code::ShuttingDown,
                    "the hub is shutting down; nothing was stored; try another node",
                ));
            }
            Err(_) => return Err(not_stored("the log takes no more publishes now; try again")),
        }
        match tokio::time::timeout_at(due, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(unknown(
                "the writer of the log is gone; the event may be stored; the hub must be restarted",
            )),
            Err(_) => Err(unknown(
                "the log did not answer in time; the event may be stored; a retry with the same Idempotency-Key is safe",
            )),
        }
    }
}

/// Publishes that are committed together.
#[derive(Default)]
struct Group {
    drafts: Vec<Draft>,
    /// Key and publisher of each draft that has one.
    keys: HashSet<(Arc<str>, Arc<str>)>,
    waiting: Vec<Waiting>,
    bytes: usize,
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
    pub(crate) fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let mut group = Group::default();
            let mut next = Some(first);
            while let Some(publish) = next {
                if group.repeats_a_key_of(&publish) {
                    // Its first is under way in this very group: the repeat waits for it.
                    self.commit(std::mem::take(&mut group));
                }
                self.take(publish, &mut group);
                if group.waiting.len() >= COMMIT_PUBLISHES_MAX || group.bytes >= COMMIT_BYTES_MAX {
                    break;
                }
                next = self.queue.try_recv().ok();
            }
            self.commit(group);
        }
    }

    /// Puts a publish into the group, or answers it at once where its keys do not allow it.
    fn take(&self, publish: Publish, group: &mut Group) {
        let Publish { items, answer } = publish;
        let known = match self.look_up(&items, group.keys.len()) {
            Ok(known) => known,
            Err(error) => {
                let _ = answer.send(Err(error));
                return;
            }
        };
        let slots = items.into_iter().zip(known).map(|(item, known)| group.add(item, known)).collect();
        group.waiting.push(Waiting { slots, answer });
    }

    /// What is known of each event's key.
    fn look_up(&self, items: &[Item], under_way: usize) -> Result<Vec<Option<EventId>>, Error> {
        let mut keys = self.log.keys();
        keys.forget_old(self.log.now());
        let newest = self.log.newest();
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

    /// Appends the group, tells the hub, answers.
    fn commit(&self, group: Group) {
        let Group { drafts, waiting, .. } = group;
        let head = self.log.head().offset;
        // What is not stored is left with its readers before they can see what was stored after it.
        let outcome = self.log.append_with(drafts, &mut || self.leave_unstored(&waiting, head));
        let entries = match outcome {
            Ok(entries) => entries,
            Err(error) => {
                self.metrics.append_failed();
                error!(%error, publishes = waiting.len(), "publishes were not stored");
                for Waiting { answer, .. } in waiting {
                    let _ = answer.send(Err(refusal(&error)));
                }
                return;
            }
        };
        self.metrics.stored(entries.len());
        self.audience.stored(&entries);
        for (_, draft) in unstored(&waiting).filter(|(after_drafts, _)| *after_drafts > 0) {
            self.audience.wake(&draft.channels);
        }
        for Waiting { slots, answer } in waiting {
            let published = slots.into_iter().map(|slot| settle(slot, &entries)).collect();
            let _ = answer.send(Ok(published));
        }
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
    fn repeats_a_key_of(&self, publish: &Publish) -> bool {
        let keys = publish.items.iter().filter_map(|item| item.draft.idempotency.as_ref());
        keys.into_iter().any(|it| self.keys.contains(&(it.publisher.clone(), it.key.clone())))
    }

    fn add(&mut self, item: Item, known: Option<EventId>) -> Slot {
        if let Some(id) = known {
            return Slot::Repeat(id);
        }
        if !item.is_stored {
            return Slot::Unstored { after_drafts: self.drafts.len(), draft: Box::new(item.draft) };
        }
        self.bytes += item.draft.data.len();
        if let Some(idempotency) = &item.draft.idempotency {
            self.keys.insert((idempotency.publisher.clone(), idempotency.key.clone()));
        }
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
            not_stored("the log is read-only after a fault of its disk; the hub must be restarted")
                .retry_after(Duration::from_secs(60))
        }
        StoreError::NotStored(source) if source.kind() == std::io::ErrorKind::StorageFull => {
            not_stored("the disk of the log is full; try again when there is room")
        }
        _ => not_stored("the log could not be written; the hub's own log says why"),
    }
}

fn not_stored(detail: &'static str) -> Error {
    Error::new(Code::NotStored, detail).retry_after(Duration::from_secs(1))
}

fn unknown(detail: &'static str) -> Error {
    Error::new(Code::OutcomeUnknown, detail).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
