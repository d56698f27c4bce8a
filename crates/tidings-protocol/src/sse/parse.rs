//! Parses a stream, in portions of any size. Source: HTML Standard, 9.2.6 "Interpreting an event stream".

use std::fmt;
use std::mem;

/// An item of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamItem {
    /// An event.
    Event(MessageEvent),
    /// An id without data: the cursor moved to it.
    Position(String),
    /// The reconnection time in milliseconds.
    Retry(u64),
    /// A comment, such as a keep-alive.
    Comment(String),
}

/// An event as the standard dispatches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageEvent {
    /// Its name; `message` by default.
    pub name: String,
    /// Its data, with LF between lines.
    pub data: String,
    /// The id to resume from after this event: its own, or the last one before it.
    pub last_event_id: String,
}

/// Error of an event or a line that exceeds the parser's bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLarge {
    /// The bound.
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

/// An incremental parser of one stream.
///
/// Invalid UTF-8 becomes U+FFFD. One byte order mark at the start is dropped. An event without its blank line is never
/// dispatched.
#[derive(Clone, Debug)]
pub struct Parser {
    event_bytes_max: usize,
    /// Whether an event was too large; never reset.
    is_failed: bool,
    /// Bytes of a byte order mark at the start; `BOM.len()` after the start.
    bom_bytes: usize,
    /// Whether the last line ended in CR: a following LF belongs to it.
    is_after_cr: bool,
    /// The current line, so far.
    line: Vec<u8>,
    buffers: FieldBuffers,
    last_event_id: String,
}

/// Buffers of the event that the current lines describe.
#[derive(Clone, Debug, Default)]
struct FieldBuffers {
    /// Bytes of these lines, without comments.
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
    /// Bound of [`Parser::new`]: 16 MiB.
    pub const EVENT_BYTES_MAX: usize = 16 << 20;

    /// Returns a parser at the start of a stream, bounded by [`Parser::EVENT_BYTES_MAX`].
    pub fn new() -> Self {
        Self::with_event_bytes_max(Self::EVENT_BYTES_MAX)
    }

    /// Returns a parser at the start of a stream that accepts events of up to so many bytes.
    ///
    /// The lines of an event count with their field names and without their line ends. A comment counts alone.
    pub fn with_event_bytes_max(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            is_failed: false,
            bom_bytes: 0,
            is_after_cr: false,
            line: Vec::new(),
            buffers: FieldBuffers::default(),
            last_event_id: String::new(),
        }
    }

    /// Sets the last id, for a stream that resumes from it.
    #[must_use]
    pub fn with_last_event_id(mut self, id: &str) -> Self {
        self.last_event_id = id.into();
        self
    }

    /// Returns the last id, to resume from.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Parses the next bytes of the stream, and calls `on_item` for each item that they complete.
    ///
    /// # Errors
    /// [`EventTooLarge`] if an event or a line exceeds the bound. Items before it are reported, and every later call fails.
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

    /// Drops a byte order mark at the start of the stream, in portions of any size.
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

    /// Fails if the current line with `more` exceeds the bound; its event counts, too, unless the line is a comment.
    fn check(&mut self, more: &[u8]) -> Result<(), EventTooLarge> {
        let first = self.line.first().or(more.first());
        let event_bytes = if first == Some(&b':') { 0 } else { self.buffers.bytes };
        if event_bytes + self.line.len() + more.len() > self.event_bytes_max {
            self.is_failed = true;
            (self.line, self.buffers) = (Vec::new(), FieldBuffers::default());
            return Err(self.too_large());
        }
        Ok(())
    }

    fn too_large(&self) -> EventTooLarge {
        EventTooLarge { event_bytes_max: self.event_bytes_max }
    }

    fn read_line(&mut self, line: &[u8], on_item: &mut dyn FnMut(StreamItem)) {
        if line.is_empty() {
            return self.dispatch(on_item);
        }
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if name.is_empty() {
            return on_item(StreamItem::Comment(text(value)));
        }
        self.buffers.bytes += line.len();
        match name {
            b"data" => match &mut self.buffers.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(&String::from_utf8_lossy(value));
                }
                None => self.buffers.data = Some(text(value)),
            },
            b"event" => self.buffers.name = text(value),
            b"id" if memchr::memchr(0, value).is_none() => self.buffers.id = Some(text(value)),
            b"retry" => {
                if let Some(delay_ms) = digits(value) {
                    on_item(StreamItem::Retry(delay_ms));
                }
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, on_item: &mut dyn FnMut(StreamItem)) {
        let buffers = mem::take(&mut self.buffers);
        let has_id = buffers.id.is_some();
        if let Some(id) = buffers.id {
            self.last_event_id = id;
        }
        if let Some(data) = buffers.data {
            let name = if buffers.name.is_empty() { "message".into() } else { buffers.name };
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

/// Parses ASCII digits; a number above 64 bits becomes the largest one.
fn digits(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| {
        value
            .iter()
            .fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}
