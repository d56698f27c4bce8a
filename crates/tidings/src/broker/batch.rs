//! Batches: queued publishes that a broker commits with one call.

use std::{collections::HashSet, sync::Arc};

use tidings_log::NewEntry;
use tokio::sync::{mpsc, oneshot};

use super::api::{PendingEvent, PublishOutcome};
use crate::error::Error;

/// Answer to a publish: the outcome of each of its events.
pub(super) type PublishResult = Result<Vec<PublishOutcome>, Error>;

/// Way of the answer to the publisher.
pub(super) type AnswerSender = oneshot::Sender<PublishResult>;

/// Publishes that are committed with one call.
pub(super) trait PublishBatch: Default {
    type Publish;

    /// Whether the publish repeats an idempotency key of the batch.
    fn repeats_key_of(&self, publish: &Self::Publish) -> bool;

    /// Whether the batch takes no further publish.
    fn is_full(&self) -> bool;

    /// Collects `first` and queued publishes, until the batch is full or the queue is empty. Ends also before a publish that
    /// repeats a key of the batch, and returns that publish as the first of the next batch: its answer depends on this one.
    fn collect(
        first: Self::Publish,
        queue: &mut mpsc::Receiver<Self::Publish>,
        mut add: impl FnMut(&mut Self, Self::Publish),
    ) -> (Self, Option<Self::Publish>) {
        let mut batch = Self::default();
        let mut next = Some(first);
        while let Some(publish) = next {
            if batch.repeats_key_of(&publish) {
                return (batch, Some(publish));
            }
            add(&mut batch, publish);
            next = if batch.is_full() { None } else { queue.try_recv().ok() };
        }
        (batch, None)
    }
}

/// Idempotency keys of the publishes of one batch. A repeat waits until its first publish is in the log.
#[derive(Default)]
pub(super) struct InFlightKeys(HashSet<(Arc<str>, Arc<str>)>);

impl InFlightKeys {
    pub(super) fn add(&mut self, entry: &NewEntry) {
        if let Some(it) = &entry.idempotency {
            self.0.insert((it.publisher.clone(), it.key.clone()));
        }
    }

    pub(super) fn contains_any_of(&self, items: &[PendingEvent]) -> bool {
        let keys = items.iter().filter_map(|item| item.entry.idempotency.as_ref());
        keys.into_iter().any(|it| self.0.contains(&(it.publisher.clone(), it.key.clone())))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
