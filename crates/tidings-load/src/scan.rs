//! Server-Sent Events as a load sees them: stamps, ids, and the frames by which a hub tells of a loss or its end.

use crate::stamp::{Marker, Stamp};

/// Of a line that comes in pieces no more than this is kept: stamps stand at the front of an event.
const LINE_BYTES_KEPT: usize = 1024;

/// What a block of lines was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// An event of this run.
    Event(Stamp),
    /// Any other event.
    Foreign,
    /// `tidings.gap`: the server says that something is missing.
    Gap,
    /// `tidings.end`: the server says that it ends the stream.
    End,
}

/// The reader of one stream. It allocates while lines come in pieces or ids grow, and never in steady state.
#[derive(Debug, Default)]
pub struct Scanner {
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    /// Whether more of that line came than is kept.
    is_cut: bool,
    /// Whether an LF that comes next belongs to the CR before it.
    after_cr: bool,
    block: Block,
    /// The id that the block ends with.
    next_id: Vec<u8>,
    last_id: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Block {
    has_data: bool,
    has_id: bool,
    name: Name,
    stamp: Option<Stamp>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Name {
    #[default]
    Other,
    Gap,
    End,
}

impl Scanner {
    /// The id to resume after; empty where the server gave none.
    #[must_use]
    pub fn last_id(&self) -> &[u8] {
        &self.last_id
    }

    /// Makes ready for a new connection, which resumes after the last id.
    pub fn renew(&mut self) {
        let last_id = std::mem::take(&mut self.last_id);
        *self = Self { last_id, ..Self::default() };
    }

    /// Takes the next bytes of a body and calls `on_item` for every event in them.
    pub fn feed(&mut self, mut bytes: &[u8], marker: &Marker, on_item: &mut impl FnMut(Item)) {
        if self.after_cr && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            self.after_cr = false;
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let line = &bytes[..end];
            if self.partial.is_empty() && !self.is_cut {
                self.line(line, false, marker, on_item);
            } else {
                self.keep(line);
                let whole = std::mem::take(&mut self.partial);
                self.line(&whole, self.is_cut, marker, on_item);
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

    fn line(&mut self, line: &[u8], is_cut: bool, marker: &Marker, on_item: &mut impl FnMut(Item)) {
        if line.is_empty() {
            self.dispatch(on_item);
        } else if let Some(data) = value(line, b"data") {
            self.block.has_data = true;
            self.block.stamp = self.block.stamp.or_else(|| marker.read(data));
        } else if let Some(id) = value(line, b"id") {
            // An id that was not kept whole, or with a NUL, is none.
            if !is_cut && !id.contains(&0) {
                self.block.has_id = true;
                self.next_id.clear();
                self.next_id.extend_from_slice(id);
            }
        } else if let Some(name) = value(line, b"event") {
            self.block.name = match name {
                b"tidings.gap" => Name::Gap,
                b"tidings.end" => Name::End,
                _ => Name::Other,
            };
        }
    }

    fn dispatch(&mut self, on_item: &mut impl FnMut(Item)) {
        let block = std::mem::take(&mut self.block);
        if block.has_id {
            std::mem::swap(&mut self.last_id, &mut self.next_id);
        }
        match (block.name, block.stamp) {
            (Name::Gap, _) => on_item(Item::Gap),
            (Name::End, _) => on_item(Item::End),
            (Name::Other, Some(stamp)) => on_item(Item::Event(stamp)),
            (Name::Other, None) if block.has_data => on_item(Item::Foreign),
            (Name::Other, None) => {}
        }
    }
}

/// The value of a field where the line is that field.
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
