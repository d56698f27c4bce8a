//! A stream read as it comes, with the moment at which each thing was heard.

use std::time::Duration;

use tidings_client::Exchange;
use tidings_protocol::sse::{Parser, StreamItem};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// More is not read ahead; far above what one examination publishes.
const HEARD_MAX: usize = 1024;

/// Something that was heard on a stream, and when.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) at: Instant,
    pub(super) what: StreamSignal,
}

#[derive(Debug)]
pub(super) enum StreamSignal {
    /// Bytes came, whatever they complete.
    Bytes,
    Item(StreamItem),
    /// The stream is over, for this reason.
    Closed(String),
}

/// Why an awaited event was not heard.
#[derive(Debug)]
pub(super) enum WaitError {
    Silent,
    Closed(String),
    /// The hub told a gap.
    Gap,
}

/// An open stream. Dropping it closes the connection.
pub(super) struct StreamProbe {
    heard: mpsc::Receiver<Received>,
    reader: JoinHandle<()>,
    last_event_id: String,
}

impl Drop for StreamProbe {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl StreamProbe {
    /// Begins to read a stream whose head has come. The reader ends with the stream or the listener.
    pub(super) fn start(exchange: Exchange) -> Self {
        let (sender, heard) = mpsc::channel(HEARD_MAX);
        let reader = tokio::spawn(async move {
            // An error says that the listener is gone.
            let _gone = read(exchange, &sender).await;
        });
        Self { heard, reader, last_event_id: String::new() }
    }

    /// The next thing heard; `None` at the deadline.
    pub(super) async fn next(&mut self, deadline: Instant) -> Option<Received> {
        let heard = timeout_at(deadline, self.heard.recv()).await.ok()??;
        match &heard.what {
            StreamSignal::Item(StreamItem::Position(id)) => self.last_event_id.clone_from(id),
            StreamSignal::Item(StreamItem::Event(event)) => {
                self.last_event_id.clone_from(&event.last_event_id)
            }
            _ => {}
        }
        Some(heard)
    }

    /// Waits for the event with this data and says when it came.
    pub(super) async fn event(&mut self, data: &str, within: Duration) -> Result<Instant, WaitError> {
        let deadline = Instant::now() + within;
        while let Some(heard) = self.next(deadline).await {
            match heard.what {
                StreamSignal::Item(StreamItem::Event(event)) if event.data == data => return Ok(heard.at),
                StreamSignal::Item(StreamItem::Event(event)) if event.name == "tidings.gap" => {
                    return Err(WaitError::Gap);
                }
                StreamSignal::Closed(reason) => return Err(WaitError::Closed(reason)),
                _ => {}
            }
        }
        Err(WaitError::Silent)
    }

    /// Waits until the stream has named an id.
    pub(super) async fn id(&mut self, within: Duration) -> Option<String> {
        let deadline = Instant::now() + within;
        while self.last_event_id.is_empty() {
            if let StreamSignal::Closed(_) = self.next(deadline).await?.what {
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
                sender.send(Received { at, what: StreamSignal::Bytes }).await?;
                let mut items = Vec::new();
                let fed = parser.feed(&bytes, &mut |item| items.push(item));
                for item in items {
                    sender.send(Received { at, what: StreamSignal::Item(item) }).await?;
                }
                match fed {
                    Ok(()) => continue,
                    Err(fault) => fault.to_string(),
                }
            }
            Ok(None) => "the stream was closed".to_owned(),
            Err(fault) => fault.to_string(),
        };
        return sender.send(Received { at, what: StreamSignal::Closed(reason) }).await;
    }
}
