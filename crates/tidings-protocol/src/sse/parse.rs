//! Reads a stream back, byte by byte if need be, as the HTML Standard says (9.2.6 "Interpreting an event stream").

use std::fmt;
use std::mem;

/// One thing that a stream said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamItem {
    /// An event.
    Event(MessageEvent),
    /// A block without data that carried an id: the cursor moved to it.
    Position(String),
    /// How long to wait before a reconnect, in milliseconds.
    Retry(u64),
    /// A comment, such as a keep-alive.
    Comment(String),
}

/// An event as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageEvent {
    /// Its name; `message` if it was sent without one.
    pub name: String,
    /// Its text, with LF between lines.
    pub data: String,
    /// The id that a resume names after this event: its own, or the last one before it.
    pub last_event_id: String,
}

/// An event or line that is larger than the parser's bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLarge {
    /// The bound that was reached.
    pub event_bytes_max: usize,
}

impl fmt::Display for EventTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "event in the stream is larger than {} bytes; raise the reader's bound",
            self.event_bytes_max
        )
    }
}

impl std::error::Error for EventTooLarge {}

/// An incremental reader of one stream.
///
/// Bytes come in any portions. Bad UTF-8 becomes U+FFFD, one byte order mark at the start is dropped, and what is
/// unfinished when the stream ends is never told.
#[derive(Clone, Debug)]
pub struct Parser {
    event_bytes_max: usize,
    /// Set for good by the first event that was too large.
    is_failed: bool,
    /// Bytes of a byte order mark seen at the start; `BOM.len()` once the start is over.
    bom_bytes: usize,
    /// The last line ended in CR: an LF that follows belongs to it.
    is_after_cr: bool,
    /// A line whose end has not come yet.
    line: Vec<u8>,
    block: FieldBuffers,
    last_event_id: String,
}

/// What the lines since the last blank line have said.
#[derive(Clone, Debug, Default)]
struct FieldBuffers {
    /// Bytes of these lines, comments left out.
    bytes: usize,
    name: String,
    data: Option<String>,
    id: Option<String>,
}

const BOM: &[u8] = b"\xef\xbb\xbf";

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// Bound of a parser made by [`Parser::new`]: 16 MiB.
    pub const EVENT_BYTES_MAX: usize = 16 << 20;

    /// Returns a parser at the start of a stream, bounded by [`Parser::EVENT_BYTES_MAX`].
    pub fn new() -> Self {
        Self::with_event_bytes_max(Self::EVENT_BYTES_MAX)
    }

    /// Returns a parser at the start of a stream that takes events of up to so many bytes.
    ///
    /// The lines of an event count as they are sent, with field names and without line ends; a comment counts alone.
    pub fn with_event_bytes_max(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            is_failed: false,
            bom_bytes: 0,
            is_after_cr: false,
            line: Vec::new(),
            block: FieldBuffers::default(),
            last_event_id: String::new(),
        }
    }

    /// Sets the id to go on from, for the stream of a reconnect: it holds until the stream names another.
    #[must_use]
    pub fn with_last_event_id(mut self, id: &str) -> Self {
        self.last_event_id = id.into();
        self
    }

    /// Returns the id to resume from: that of the last finished block that had one.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Reads the next bytes of the stream and tells what they complete, in order.
    ///
    /// # Errors
    /// [`EventTooLarge`] when an event or a line passes the bound; what came before it was told, and every later call fails.
    pub fn feed(&mut self, bytes: &[u8], on_item: &mut dyn FnMut(StreamItem)) -> Result<(), EventTooLarge> {
        if self.is_failed {
            return Err(self.too_large());
        }
        let mut rest = self.skip_bom(bytes);
        if self.is_after_cr && !rest.is_empty() {
            self.is_after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
            self.finish_line(&rest[..end], on_item)?;
            let is_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if is_cr {
                self.is_after_cr = rest.is_empty();
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
        }
        self.check(rest)?;
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// Drops a byte order mark at the start of the stream, in whatever portions it comes.
    fn skip_bom<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while self.bom_bytes < BOM.len() {
            let Some((first, rest)) = bytes.split_first() else { break };
            if *first == BOM[self.bom_bytes] {
                self.bom_bytes += 1;
                bytes = rest;
            } else {
                self.line.extend_from_slice(&BOM[..self.bom_bytes]);
                self.bom_bytes = BOM.len();
            }
        }
        bytes
    }

    fn finish_line(&mut self, end: &[u8], on_item: &mut dyn FnMut(StreamItem)) -> Result<(), EventTooLarge> {
        self.check(end)?;
        if self.line.is_empty() {
            self.read_line(end, on_item);
        } else {
            let mut line = mem::take(&mut self.line);
            line.extend_from_slice(end);
            self.read_line(&line, on_item);
            line.clear();
            self.line = line;
        }
        Ok(())
    }

    /// Fails where the line so far, with its block unless it is a comment, passes the bound with these bytes more.
    fn check(&mut self, more: &[u8]) -> Result<(), EventTooLarge> {
        let first = self.line.first().or(more.first());
        let block_bytes = if first == Some(&b':') { 0 } else { self.block.bytes };
        if block_bytes + self.line.len() + more.len() > self.event_bytes_max {
            self.is_failed = true;
            (self.line, self.block) = (Vec::new(), FieldBuffers::default());
            return Err(self.too_large());
        }
        Ok(())
    }

    fn too_large(&self) -> EventTooLarge {
        EventTooLarge { event_bytes_max: self.event_bytes_max }
    }

    fn read_line(&mut self, line: &[u8], on_item: &mut dyn FnMut(StreamItem)) {
        if line.is_empty() {
            return self.finish_block(on_item);
        }
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if name.is_empty() {
            return on_item(StreamItem::Comment(text(value)));
        }
        self.block.bytes += line.len();
        match name {
            b"data" => match &mut self.block.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(&String::from_utf8_lossy(value));
                }
                None => self.block.data = Some(text(value)),
            },
            b"event" => self.block.name = text(value),
            b"id" if memchr::memchr(0, value).is_none() => self.block.id = Some(text(value)),
            b"retry" => {
                if let Some(delay_ms) = digits(value) {
                    on_item(StreamItem::Retry(delay_ms));
                }
            }
            _ => {}
        }
    }

    fn finish_block(&mut self, on_item: &mut dyn FnMut(StreamItem)) {
        let block = mem::take(&mut self.block);
        let has_id = block.id.is_some();
        if let Some(id) = block.id {
            self.last_event_id = id;
        }
        if let Some(data) = block.data {
            let name = if block.name.is_empty() { "message".into() } else { block.name };
            on_item(StreamItem::Event(MessageEvent {
                name,
                data,
                last_event_id: self.last_event_id.clone(),
            }));
        } else if has_id {
            on_item(StreamItem::Position(self.last_event_id.clone()));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads ASCII digits alone; a number past 64 bits is the largest one.
fn digits(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| {
        value
            .iter()
            .fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}
