//! Parser of Server-Sent Events that finds stamps, ids, `tidings.gap` and `tidings.end`.

use crate::stamp::{Stamp, StampCodec};

/// Bytes kept of a line that arrives in several reads. Stamps stand at the front of an event.
const LINE_BYTES_KEPT: usize = 1024;

/// Content of one SSE block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScannedItem {
    /// An event of this run.
    Event(Stamp),
    /// Any other event with data.
    Foreign,
    /// `tidings.gap`: the server reports missing events.
    Gap,
    /// `tidings.end`: the server announces the end of the stream.
    End,
}

/// Parser of one stream. It allocates only for lines that span reads and for longer ids.
#[derive(Debug, Default)]
pub struct SseScanner {
    /// Start of an incomplete line.
    partial: Vec<u8>,
    /// Whether the line exceeds [`LINE_BYTES_KEPT`].
    is_cut: bool,
    /// Whether the last byte was a CR, so that a following LF is ignored.
    after_cr: bool,
    block: ScannedBlock,
    /// Id of the current block.
    next_id: Vec<u8>,
    last_id: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
struct ScannedBlock {
    has_data: bool,
    has_id: bool,
    /// [`ScannedItem::Gap`] or [`ScannedItem::End`], if the event has its name.
    control: Option<ScannedItem>,
    stamp: Option<Stamp>,
}

impl SseScanner {
    /// Id to resume after; empty if the server sent none.
    pub fn last_id(&self) -> &[u8] {
        &self.last_id
    }

    /// Resets the parser for a new connection; the last id stays.
    pub fn renew(&mut self) {
        let last_id = std::mem::take(&mut self.last_id);
        *self = Self { last_id, ..Self::default() };
    }

    /// Parses the next bytes of a body and calls `on_item` for each block.
    pub fn feed(&mut self, mut bytes: &[u8], codec: &StampCodec, on_item: &mut impl FnMut(ScannedItem)) {
        if self.after_cr && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            self.after_cr = false;
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let line = &bytes[..end];
            if self.partial.is_empty() && !self.is_cut {
                self.line(line, false, codec, on_item);
            } else {
                self.keep(line);
                let whole = std::mem::take(&mut self.partial);
                self.line(&whole, self.is_cut, codec, on_item);
                self.partial = whole;
                self.partial.clear();
                self.is_cut = false;
            }
            let is_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if is_cr && bytes.first() == Some(&b'\n') {
                bytes = &bytes[1..];
            } else {
                self.after_cr = is_cr && bytes.is_empty();
            }
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_KEPT - self.partial.len();
        self.is_cut |= bytes.len() > room;
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self, line: &[u8], is_cut: bool, codec: &StampCodec, on_item: &mut impl FnMut(ScannedItem)) {
        if line.is_empty() {
            self.dispatch(on_item);
        } else if let Some(data) = value(line, b"data") {
            self.block.has_data = true;
            self.block.stamp = self.block.stamp.or_else(|| codec.read(data));
        } else if let Some(id) = value(line, b"id") {
            // A truncated id, or one with a NUL, is ignored. Source: HTML Standard, 9.2.6.
            if !is_cut && !id.contains(&0) {
                self.block.has_id = true;
                self.next_id.clear();
                self.next_id.extend_from_slice(id);
            }
        } else if let Some(name) = value(line, b"event") {
            self.block.control = match name {
                b"tidings.gap" => Some(ScannedItem::Gap),
                b"tidings.end" => Some(ScannedItem::End),
                _ => None,
            };
        }
    }

    fn dispatch(&mut self, on_item: &mut impl FnMut(ScannedItem)) {
        let block = std::mem::take(&mut self.block);
        if block.has_id {
            std::mem::swap(&mut self.last_id, &mut self.next_id);
        }
        let event = block.stamp.map(ScannedItem::Event).or(block.has_data.then_some(ScannedItem::Foreign));
        if let Some(item) = block.control.or(event) {
            on_item(item);
        }
    }
}

/// Returns the value of the line, if its field name is `field`.
fn value<'a>(line: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(field)?;
    match rest.first() {
        None => Some(rest),
        Some(b':') => Some(rest[1..].strip_prefix(b" ").unwrap_or(&rest[1..])),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
