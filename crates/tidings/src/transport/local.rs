//! A connection as a stream of parsed events, for code in the process of the hub.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use http_body::Body;
use serde::de::DeserializeOwned;
use tidings_protocol::body::{EndNotice, GapNotice};
use tidings_protocol::sse::{MessageEvent, Parser, StreamItem};

use super::event_stream::EventBody;
use crate::connection::ConnectionId;

/// One item of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// An event of one of the channels.
    Event(MessageEvent),
    /// Events were lost. All events that are still stored follow.
    Gap(GapNotice),
    /// The hub ends the stream. No item follows.
    End(EndNotice),
}

/// A stream of events, for code in the process of the hub. Dropping it closes the connection.
///
/// [`Hub::subscribe`](crate::Hub::subscribe) opens one. It is a [`Stream`]; [`EventStream::next`] needs no further crate.
///
/// A slow reader costs the hub a cursor, not a queue: events wait in the log. A reader that takes no item for 1 s is
/// behind, like any client: it may miss transient events, superseded events and events of low priority.
#[must_use = "a stream is read by `next`"]
pub struct EventStream {
    body: EventBody,
    parser: Parser,
    /// Items of the last chunk that the reader has not taken.
    queue: VecDeque<StreamItem>,
    /// Id of the last item that the reader took. The parser is ahead of it.
    last_event_id: String,
    is_over: bool,
}

impl EventStream {
    pub(crate) fn new(body: EventBody) -> Self {
        // The hub has checked the size of each event in the log.
        let parser = Parser::with_event_bytes_max(usize::MAX);
        Self { body, parser, queue: VecDeque::new(), last_event_id: String::new(), is_over: false }
    }

    /// Returns the next item; `None` after the end. Cancel safe.
    pub async fn next(&mut self) -> Option<Delivery> {
        poll_fn(|context| self.poll_delivery(context)).await
    }

    /// Returns the id that resumes after the last item of [`EventStream::next`], for [`Start::After`](crate::Start::After).
    ///
    /// Empty before the first item.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Returns the id of this connection.
    #[must_use]
    pub fn connection_id(&self) -> ConnectionId {
        self.body.connection_id()
    }

    fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        loop {
            while let Some(item) = self.queue.pop_front() {
                if let Some(delivery) = self.take(item) {
                    return Poll::Ready(Some(delivery));
                }
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    let bytes = frame.into_data().unwrap_or_default();
                    let queue = &mut self.queue;
                    let parsed = self.parser.feed(&bytes, &mut |item| queue.push_back(item));
                    self.is_over = parsed.is_err();
                }
                None => self.is_over = true,
            }
        }
    }

    fn take(&mut self, item: StreamItem) -> Option<Delivery> {
        let event = match item {
            StreamItem::Event(event) => event,
            StreamItem::Position(id) => {
                self.last_event_id = id;
                return None;
            }
            StreamItem::Retry(_) | StreamItem::Comment(_) => return None,
        };
        self.last_event_id.clone_from(&event.last_event_id);
        match event.name.as_str() {
            "tidings.gap" => Some(Delivery::Gap(notice(&event.data))),
            "tidings.end" => Some(Delivery::End(notice(&event.data))),
            name if name.starts_with("tidings.") => None,
            _ => Some(Delivery::Event(event)),
        }
    }
}

fn notice<N: DeserializeOwned>(data: &str) -> N {
    serde_json::from_str(data).expect("the hub reads its own notices")
}

impl Stream for EventStream {
    type Item = Delivery;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.get_mut().poll_delivery(context)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("connection_id", &self.connection_id())
            .field("last_event_id", &self.last_event_id)
            .finish_non_exhaustive()
    }
}
