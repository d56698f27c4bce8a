//! Publishers and readers of one phase: their start, their end, and their observations.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client_context::ClientContext;
use crate::history::{EventLabel, PublishResult, SentEvent};
use crate::observation::ReaderHistory;
use crate::publisher::Publisher;
use crate::reader::{ClosingEvent, ClosingEvents, Reader};
use crate::violation::Violation;

/// Longest time in which readers receive the rest after the last publish.
const CLOSING_DEADLINE: Duration = Duration::from_secs(60);

/// All publishers and readers of a phase.
pub(crate) struct Clients {
    context: Arc<ClientContext>,
    publishers: JoinSet<Vec<Violation>>,
    stop: watch::Sender<bool>,
    readers: JoinSet<(Vec<ReaderHistory>, Vec<Violation>)>,
    closing: watch::Sender<Option<ClosingEvents>>,
}

/// Clients that have ended.
pub(crate) struct ClosedClients {
    pub(crate) readers: Vec<ReaderHistory>,
    /// The last event of each channel.
    pub(crate) closing: Vec<EventLabel>,
    pub(crate) violations: Vec<Violation>,
}

impl Clients {
    /// Starts all clients.
    pub(crate) fn start(context: ClientContext) -> Self {
        let context = Arc::new(context);
        let (stop, closing) = (watch::Sender::new(false), watch::Sender::new(None));
        let (mut readers, mut publishers) = (JoinSet::new(), JoinSet::new());
        for index in 0..context.settings.readers {
            readers.spawn(Reader::new(index, Arc::clone(&context)).run(closing.subscribe()));
        }
        for index in 0..context.settings.publishers {
            publishers.spawn(Publisher::new(index, Arc::clone(&context)).run(stop.subscribe()));
        }
        Self { context, publishers, stop, readers, closing }
    }

    /// Ends the publishers, and waits until the readers have received the last events.
    pub(crate) async fn finish(&mut self) -> ClosedClients {
        let mut violations = Vec::new();
        self.stop.send_replace(true);
        while let Some(found) = self.publishers.join_next().await {
            violations.extend(found.expect("publishers do not panic"));
        }
        let last = Publisher::new(self.context.settings.publishers, Arc::clone(&self.context));
        let (closing, found) = last.close().await;
        violations.extend(found);
        self.context.history.note("every event is published");
        let deadline = Instant::now() + CLOSING_DEADLINE;
        let records = self.context.history.records();
        let event = |label: &EventLabel| {
            let SentEvent { begun, result, .. } = records.sent[label];
            let PublishResult::Acknowledged { position, .. } = result else { return None };
            Some(ClosingEvent { label: *label, begun, position })
        };
        // Without an acknowledged last event on each channel there is a violation already.
        let events = closing.iter().map(event).collect::<Option<Vec<_>>>().unwrap_or_default();
        self.closing.send_replace(Some(ClosingEvents { events: Arc::new(events), deadline }));
        let mut readers = Vec::new();
        while let Some(done) = self.readers.join_next().await {
            let (histories, found) = done.expect("readers do not panic");
            readers.extend(histories);
            violations.extend(found);
        }
        readers.sort_by_key(|history| history.reader);
        ClosedClients { readers, closing, violations }
    }

    /// Aborts all clients.
    pub(crate) async fn shut_down(&mut self) {
        self.publishers.shutdown().await;
        self.readers.shutdown().await;
    }
}
