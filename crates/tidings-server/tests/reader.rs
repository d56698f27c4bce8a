//! A subscriber that tells every item of its stream.

use std::collections::VecDeque;

use serde_json::Value;
use tidings_protocol::sse::{MessageEvent, Parser, StreamItem};

use super::process::Hub;
use super::wire::{Head, Wire};

/// One open stream.
pub(crate) struct Reader {
    pub(crate) wire: Wire,
    pub(crate) head: Head,
    parser: Parser,
    items: VecDeque<StreamItem>,
    /// Of what was told, which may be less than what was read.
    last_id: String,
    has_chunks: bool,
    /// Bytes that are left of a body of known length.
    left: Option<usize>,
}

impl Reader {
    /// Reads the head of the answer that comes over this wire, which must be a stream.
    #[track_caller]
    pub(crate) fn over(mut wire: Wire) -> Self {
        let head = wire.head();
        if head.status != 200 {
            let length = head.header("content-length").map_or(0, |length| length.parse::<usize>().unwrap());
            let body = if length > 0 { wire.some() } else { None };
            panic!("{head:?} {}", String::from_utf8_lossy(&body.unwrap_or_default()));
        }
        Self::after(wire, head)
    }

    /// Reads the head of whatever the answer is.
    pub(crate) fn answered(mut wire: Wire) -> Self {
        let head = wire.head();
        Self::after(wire, head)
    }

    fn after(wire: Wire, head: Head) -> Self {
        let has_chunks = head.header("transfer-encoding") == Some("chunked");
        let left = head.header("content-length").map(|length| length.parse().unwrap());
        let (parser, items, last_id) = (Parser::new(), VecDeque::new(), String::new());
        Self { wire, head, parser, items, last_id, has_chunks, left }
    }

    /// Reads one item; none when the stream has ended.
    pub(crate) fn item(&mut self) -> Option<StreamItem> {
        while self.items.is_empty() {
            let bytes = match self.left.as_mut() {
                Some(0) => None,
                Some(left) => self.wire.exactly(std::mem::take(left)),
                None if self.has_chunks => self.wire.chunk(),
                None => self.wire.some(),
            };
            self.parser.feed(&bytes?, &mut |item| self.items.push_back(item)).unwrap();
        }
        let item = self.items.pop_front();
        match &item {
            Some(StreamItem::Position(id)) => self.last_id.clone_from(id),
            Some(StreamItem::Event(event)) => self.last_id.clone_from(&event.last_event_id),
            _ => {}
        }
        item
    }

    /// Reads the next event, the hub's own among them; none at the end.
    pub(crate) fn next(&mut self) -> Option<MessageEvent> {
        loop {
            match self.item()? {
                StreamItem::Event(event) if event.name != "tidings.position" => return Some(event),
                _ => {}
            }
        }
    }

    #[track_caller]
    pub(crate) fn event(&mut self) -> MessageEvent {
        self.next().expect("the stream ended without an event")
    }

    /// The text of the next event, which must be a publisher's.
    #[track_caller]
    pub(crate) fn data(&mut self) -> String {
        let event = self.event();
        assert!(!event.name.starts_with("tidings."), "{event:?}");
        event.data
    }

    /// The texts of the next events.
    #[track_caller]
    pub(crate) fn several(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.data()).collect()
    }

    /// The next event, which must be of the hub with this name, and its JSON.
    #[track_caller]
    pub(crate) fn notice(&mut self, name: &str) -> (MessageEvent, Value) {
        let event = self.event();
        assert_eq!(event.name, name, "{event:?}");
        let json = serde_json::from_str(&event.data).unwrap();
        (event, json)
    }

    /// Reads to the position that the stream begins from.
    #[track_caller]
    pub(crate) fn position(&mut self) -> String {
        loop {
            match self.item().expect("the stream ended without a position") {
                StreamItem::Position(id) => return id,
                StreamItem::Event(event) => panic!("an event before the position: {event:?}"),
                _ => {}
            }
        }
    }

    /// The id that a resume would name.
    pub(crate) fn last_id(&self) -> &str {
        &self.last_id
    }
}

/// The path of a stream that begins with its id.
pub(crate) fn with_positions(path: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    if path.contains("position=") { path.to_owned() } else { format!("{path}{separator}position=id") }
}

impl Hub {
    /// Opens a stream and waits until it is served.
    #[track_caller]
    pub(crate) fn subscribe(&self, path: &str) -> Reader {
        self.subscribe_with(path, &[])
    }

    /// Asks for positions as ids alone, unless the path says how.
    #[track_caller]
    pub(crate) fn subscribe_with(&self, path: &str, headers: &[(&str, &str)]) -> Reader {
        let mut wire = Wire::connect(self);
        wire.send(self.head_of("GET", &with_positions(path), headers, b""));
        Reader::over(wire)
    }

    #[track_caller]
    pub(crate) fn resume(&self, path: &str, id: &str) -> Reader {
        self.subscribe_with(path, &[("Last-Event-ID", id)])
    }
}
