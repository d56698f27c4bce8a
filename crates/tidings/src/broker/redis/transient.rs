//! Publishes transient events to all nodes: all events that wait, in one round trip.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::{commands::RedisLog, error::publish_error, node_messages::LiveEvent};
use crate::{broker::api::PublishOutcome, error::Error};

/// Publishes that may wait for a round trip.
const QUEUE_MAX: usize = 512;
/// Publishes and bytes of one round trip, unless a single publish has more.
const PUBLISHES_MAX: usize = 512;
const BYTES_MAX: usize = 2 << 20;

/// A publish whose stored events are in the log, and whose transient events are sent now.
pub(super) struct TransientPublish {
    /// Outcomes of the stored events, in their order.
    pub(super) stored: Vec<PublishOutcome>,
    /// Transient events, each with its index in the publish.
    pub(super) events: Vec<(usize, LiveEvent)>,
    pub(super) answer: oneshot::Sender<Result<Vec<PublishOutcome>, Error>>,
}

/// Task that sends publishes in their order, one round trip after the other. Stored events do not wait for it.
pub(super) struct TransientPublisher {
    queue: mpsc::Receiver<TransientPublish>,
    redis_log: Arc<RedisLog>,
}

pub(super) fn transient_publisher(
    redis_log: Arc<RedisLog>,
) -> (mpsc::Sender<TransientPublish>, TransientPublisher) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    (sender, TransientPublisher { queue, redis_log })
}

impl TransientPublisher {
    /// Sends until the sender is dropped and every publish is answered.
    pub(super) async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let (mut publishes, mut bytes, mut next) = (Vec::new(), 0, Some(first));
            while let Some(publish) = next {
                // A closed answer means that the publisher was told that the outcome is unknown.
                if !publish.answer.is_closed() {
                    bytes += publish.events.iter().map(|(_, live)| live.data.len()).sum::<usize>();
                    publishes.push(publish);
                }
                let is_full = publishes.len() >= PUBLISHES_MAX || bytes >= BYTES_MAX;
                next = if is_full { None } else { self.queue.try_recv().ok() };
            }
            self.send(publishes).await;
        }
    }

    async fn send(&self, mut publishes: Vec<TransientPublish>) {
        let events: Vec<&LiveEvent> =
            publishes.iter().flat_map(|publish| publish.events.iter().map(|(_, live)| live)).collect();
        let sent =
            if events.is_empty() { Ok(Vec::new()) } else { self.redis_log.publish_live(&events).await };
        let (mut outcomes, unsent) = match sent {
            Ok(outcomes) => (outcomes.into_iter(), None),
            Err(fault) => (Vec::new().into_iter(), Some(fault)),
        };
        for TransientPublish { mut stored, events, answer } in publishes.drain(..) {
            let has_stored = !stored.is_empty();
            let mut failed = None;
            for (place, _) in events {
                match outcomes.next().unwrap_or_else(|| unsent.clone().map_or(Ok(()), Err)) {
                    Ok(()) => {}
                    // The stored events are published; a transient event has no guarantee.
                    Err(fault) if has_stored => {
                        warn!(%fault, "redis did not publish a transient event");
                    }
                    Err(fault) => failed = failed.or(Some(fault)),
                }
                stored.insert(place.min(stored.len()), PublishOutcome::NotStored);
            }
            let _ = answer.send(failed.map_or(Ok(stored), |fault| Err(publish_error(fault))));
        }
    }
}
