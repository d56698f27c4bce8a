//! A subscriber that returns every item of its stream.

use std::{collections::VecDeque, ops::Range};

use serde_json::{Value, json};
use tidings_protocol::sse::{MessageEvent, Parser, StreamItem};

use crate::{HttpConnection, HttpHead};

/// An open event stream.
pub struct SseReader {
    /// The connection, for tests that look at its bytes.
    pub connection: HttpConnection,
    pub head: HttpHead,
    parser: Parser,
    /// Items that were parsed and not yet returned.
    items: VecDeque<StreamItem>,
    /// Id of the newest item that was returned.
    last_event_id: String,
    /// Bytes of a body of known length that were not read yet.
    body_left: Option<usize>,
}

impl SseReader {
    /// Reads the head of a response. Panics unless its status is 200.
    #[track_caller]
    pub fn open(connection: HttpConnection) -> Self {
        let mut reader = Self::from_response(connection);
        if reader.head.status != 200 {
            let body = reader.connection.read_exact(reader.head.content_length().unwrap_or_default());
            panic!("{:?} {}", reader.head, String::from_utf8_lossy(&body.unwrap_or_default()));
        }
        reader
    }

    /// Reads the head of a response of any status.
    #[track_caller]
    pub fn from_response(mut connection: HttpConnection) -> Self {
        let head = connection.read_head();
        let body_left = head.content_length();
        let (parser, items, last_event_id) = (Parser::new(), VecDeque::new(), String::new());
        Self { connection, head, parser, items, last_event_id, body_left }
    }

    /// Returns the next item; `None` at the end of the stream.
    #[track_caller]
    pub fn next_item(&mut self) -> Option<StreamItem> {
        while self.items.is_empty() {
            let bytes = match self.body_left.as_mut() {
                Some(0) => None,
                Some(left) => self.connection.read_exact(std::mem::take(left)),
                None if self.head.is_chunked() => self.connection.read_chunk(),
                None => self.connection.read_some(),
            };
            self.parser.feed(&bytes?, &mut |item| self.items.push_back(item)).unwrap();
        }
        let item = self.items.pop_front();
        match &item {
            Some(StreamItem::Position(id)) => self.last_event_id.clone_from(id),
            Some(StreamItem::Event(event)) => self.last_event_id.clone_from(&event.last_event_id),
            _ => {}
        }
        item
    }

    /// Returns the next event of a publisher or of the hub, without positions; `None` at the end of the stream.
    #[track_caller]
    pub fn next_event(&mut self) -> Option<MessageEvent> {
        loop {
            match self.next_item()? {
                StreamItem::Event(event) if event.name != "tidings.position" => return Some(event),
                _ => {}
            }
        }
    }

    /// As [`SseReader::next_event`]; panics at the end of the stream.
    #[track_caller]
    pub fn event(&mut self) -> MessageEvent {
        self.next_event().expect("the stream ended without a further event")
    }

    /// Returns the data of the next event. Panics if the event is one of the hub.
    #[track_caller]
    pub fn data(&mut self) -> String {
        let event = self.event();
        assert!(!event.name.starts_with("tidings."), "{event:?}");
        event.data
    }

    /// Returns the data of the next `count` events.
    #[track_caller]
    pub fn data_of_next(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.data()).collect()
    }

    /// Returns the data of the next events through that with the data `last`.
    #[track_caller]
    pub fn data_through(&mut self, last: &str) -> Vec<String> {
        let mut read = vec![self.data()];
        while read.last().is_some_and(|data| data != last) {
            read.push(self.data());
        }
        read
    }

    /// Returns the next event, and its data as JSON. Panics unless the event has this name.
    #[track_caller]
    pub fn control_event(&mut self, name: &str) -> (MessageEvent, Value) {
        let event = self.event();
        assert_eq!(event.name, name, "{event:?}");
        let json = serde_json::from_str(&event.data).unwrap();
        (event, json)
    }

    /// Returns the position at which the stream begins. Panics if an event comes before it.
    #[track_caller]
    pub fn position(&mut self) -> String {
        loop {
            match self.next_item().expect("the stream ended without a position") {
                StreamItem::Position(id) => return id,
                StreamItem::Event(event) => panic!("an event came before the position: {event:?}"),
                _ => {}
            }
        }
    }

    /// Returns the value of `Last-Event-ID` with which a client would resume after the items returned so far.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Asserts that the hub ends the stream next, for this reason, and sends nothing after it.
    #[track_caller]
    pub fn assert_end(&mut self, reason: &str, reconnect: bool) {
        let (_, data) = self.control_event("tidings.end");
        assert_eq!(data, json!({"reason": reason, "reconnect": reconnect}));
        assert_eq!(self.next_item().map(|item| format!("{item:?}")), None);
    }
}

/// Returns each number of a range as text.
pub fn numbers(range: Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Returns the path of a stream that begins with its position as an id, unless the path has a parameter `position`.
pub fn with_position(path: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    if path.contains("position=") { path.to_owned() } else { format!("{path}{separator}position=id") }
}
