//! Reads a stream as it arrives, with the time of each part.

use std::time::Duration;

use tidings_client::Exchange;
use tidings_protocol::sse::{Parser, StreamItem};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Parts of a stream that are read ahead, at most; far more than the checks publish.
const READ_AHEAD_MAX: usize = 1024;

/// A part of a stream, and the time at which it arrived.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) at: Instant,
    pub(super) signal: StreamSignal,
}

/// A part of a stream.
#[derive(Debug)]
pub(super) enum StreamSignal {
    /// Bytes, before the items that they complete.
    Bytes,
    Item(StreamItem),
    /// The end of the stream, with its reason.
    Closed(String),
}

/// Reason why an awaited event did not arrive.
#[derive(Debug)]
pub(super) enum WaitError {
    Timeout,
    Closed(String),
    /// The hub reported a gap.
    Gap,
}

/// An open stream. Dropping it closes the connection.
pub(super) struct StreamProbe {
    received: mpsc::Receiver<Received>,
    reader: JoinHandle<()>,
    last_event_id: String,
}

impl Drop for StreamProbe {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl StreamProbe {
    /// Begins to read a stream after its head. The reader task ends with the stream or the probe.
    pub(super) fn start(exchange: Exchange) -> Self {
        let (sender, received) = mpsc::channel(READ_AHEAD_MAX);
        let reader = tokio::spawn(async move {
            // An error means that the probe was dropped.
            let _dropped = read(exchange, &sender).await;
        });
        Self { received, reader, last_event_id: String::new() }
    }

    /// Returns the next part; `None` at the deadline.
    pub(super) async fn next(&mut self, deadline: Instant) -> Option<Received> {
        let received = timeout_at(deadline, self.received.recv()).await.ok()??;
        match &received.signal {
            StreamSignal::Item(StreamItem::Position(id)) => self.last_event_id.clone_from(id),
            StreamSignal::Item(StreamItem::Event(event)) => {
                self.last_event_id.clone_from(&event.last_event_id);
            }
            _ => {}
        }
        Some(received)
    }

    /// Waits for the event with this data. Returns the time at which it arrived.
    pub(super) async fn wait_for_event(
        &mut self,
        data: &str,
        within: Duration,
    ) -> Result<Instant, WaitError> {
        let deadline = Instant::now() + within;
        while let Some(received) = self.next(deadline).await {
            match received.signal {
                StreamSignal::Item(StreamItem::Event(event)) if event.data == data => {
                    return Ok(received.at);
                }
                StreamSignal::Item(StreamItem::Event(event)) if event.name == "tidings.gap" => {
                    return Err(WaitError::Gap);
                }
                StreamSignal::Closed(reason) => return Err(WaitError::Closed(reason)),
                _ => {}
            }
        }
        Err(WaitError::Timeout)
    }

    /// Waits until the stream has named an id.
    pub(super) async fn id(&mut self, within: Duration) -> Option<String> {
        let deadline = Instant::now() + within;
        while self.last_event_id.is_empty() {
            if let StreamSignal::Closed(_) = self.next(deadline).await?.signal {
                return None;
            }
        }
        Some(self.last_event_id.clone())
    }
}

async fn read(
    mut exchange: Exchange,
    sender: &mpsc::Sender<Received>,
) -> Result<(), mpsc::error::SendError<Received>> {
    let mut parser = Parser::new();
    loop {
        let chunk = exchange.chunk().await;
        let at = Instant::now();
        let reason = match chunk {
            Ok(Some(bytes)) => {
                sender.send(Received { at, signal: StreamSignal::Bytes }).await?;
                let mut items = Vec::new();
                let outcome = parser.feed(&bytes, &mut |item| items.push(item));
                for item in items {
                    sender.send(Received { at, signal: StreamSignal::Item(item) }).await?;
                }
                match outcome {
                    Ok(()) => continue,
                    Err(error) => error.to_string(),
                }
            }
            Ok(None) => "the stream was closed".to_owned(),
            Err(error) => error.to_string(),
        };
        return sender.send(Received { at, signal: StreamSignal::Closed(reason) }).await;
    }
}
