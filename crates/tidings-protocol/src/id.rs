//! Event ids: a cursor into the log, and the later entries that were sent already.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::quote::quoted;
use crate::text::{message_error, parse_traits};

/// An incarnation of a log: 64 random bits, written as 16 lowercase hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A random mark of an entry, written as 8 lowercase hex digits.
///
/// `Tag(0)` stands for an unknown entry, and is never compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub u32);

/// An entry above the cursor that was sent early. A resume skips it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Skip {
    /// Offset of the entry in the log, above the cursor's.
    pub offset: u64,
    /// Tag of that entry.
    pub tag: Tag,
}

/// A cursor into the log, which is opaque to clients.
///
/// Its text is `<epoch>-<offset>-<tag>`, then `.<distance>-<tag>` for each skip. A distance counts from the id's own
/// offset. Every id has exactly one spelling. The type checks no invariant: its creator keeps the skips ascending, above
/// `offset`, and within [`EventId::SKIPS_MAX`] and [`EventId::DISTANCE_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    /// Incarnation of the log that `offset` belongs to.
    pub epoch: Epoch,
    /// Offset of the cursor: every entry up to it was sent.
    pub offset: u64,
    /// Tag of the entry at `offset`.
    pub tag: Tag,
    /// Entries above `offset` that were sent, too; ascending by offset.
    pub skips: Vec<Skip>,
}

impl EventId {
    /// Skips of an id, at most.
    pub const SKIPS_MAX: usize = 8;

    /// Bytes of an id's text, at most.
    pub const BYTES_MAX: usize = 256;

    /// Distance of a skip from the cursor, at most.
    pub const DISTANCE_MAX: u64 = u32::MAX as u64;

    /// Returns the id of a cursor without skips.
    pub fn new(epoch: Epoch, offset: u64, tag: Tag) -> Self {
        Self { epoch, offset, tag, skips: Vec::new() }
    }

    fn parse(text: &str) -> Result<Self, EventIdError> {
        parse(text).map_err(|fault| {
            EventIdError(format!("event id {} {fault}; send an id as it was received", quoted(text)))
        })
    }

    /// Appends the id's text to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        debug_assert!(self.skips.len() <= Self::SKIPS_MAX);
        out.extend_from_slice(&lowercase_hex::<16>(self.epoch.0));
        out.push(b'-');
        write_decimal(out, self.offset);
        out.push(b'-');
        out.extend_from_slice(&lowercase_hex::<8>(u64::from(self.tag.0)));
        for skip in &self.skips {
            debug_assert!(skip.offset > self.offset && skip.offset - self.offset <= Self::DISTANCE_MAX);
            out.push(b'.');
            write_decimal(out, skip.offset.saturating_sub(self.offset));
            out.push(b'-');
            out.extend_from_slice(&lowercase_hex::<8>(u64::from(skip.tag.0)));
        }
    }
}

/// Returns the lowest digits of a number. It does not use `fmt`, because every event has an id.
fn lowercase_hex<const DIGITS: usize>(number: u64) -> [u8; DIGITS] {
    std::array::from_fn(|at| b"0123456789abcdef"[(number >> (4 * (DIGITS - 1 - at)) & 15) as usize])
}

fn write_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; u64::MAX.ilog10() as usize + 1];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Bytes of epoch, offset, tag and their two hyphens, at most.
const CURSOR_BYTES_MAX: usize = 16 + 1 + u64::MAX.ilog10() as usize + 1 + 1 + 8;

/// Bytes of a skip with its dot and hyphen, at most.
const SKIP_BYTES_MAX: usize = 1 + EventId::DISTANCE_MAX.ilog10() as usize + 1 + 1 + 8;

const _: () = assert!(CURSOR_BYTES_MAX + EventId::SKIPS_MAX * SKIP_BYTES_MAX <= EventId::BYTES_MAX);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(CURSOR_BYTES_MAX);
        self.write(&mut text);
        // The text is ASCII, so this neither changes nor copies it.
        f.pad(&String::from_utf8_lossy(&text))
    }
}

message_error! {
    /// Error of a text that is no event id in its one spelling.
    EventIdError
}

parse_traits!(EventId, EventIdError);

impl From<EventId> for String {
    fn from(id: EventId) -> Self {
        id.to_string()
    }
}

impl From<&EventId> for String {
    fn from(id: &EventId) -> Self {
        id.to_string()
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

fn parse(text: &str) -> Result<EventId, &'static str> {
    if text.len() > EventId::BYTES_MAX {
        return Err("is longer than 256 bytes");
    }
    let mut parts = text.split('.');
    let mut cursor = parts.next().unwrap_or_default().splitn(3, '-');
    let (Some(epoch), Some(offset), Some(tag)) = (cursor.next(), cursor.next(), cursor.next()) else {
        return Err("is not of the form epoch-offset-tag");
    };
    let epoch = Epoch(hex(epoch, 16).ok_or("has an epoch that is not 16 lowercase hex digits")?);
    let offset = decimal(offset).ok_or("has an offset that is not a plain 64-bit number")?;
    let mut id = EventId::new(epoch, offset, tag_of(tag)?);
    for part in parts {
        let skip = parse_skip(part, offset)?;
        if id.skips.last().is_some_and(|last| last.offset >= skip.offset) {
            return Err("has skips that do not ascend");
        }
        if id.skips.len() == EventId::SKIPS_MAX {
            return Err("has more than 8 skips");
        }
        id.skips.push(skip);
    }
    Ok(id)
}

fn parse_skip(text: &str, offset: u64) -> Result<Skip, &'static str> {
    let (distance, tag) = text.split_once('-').ok_or("has a skip that is not of the form distance-tag")?;
    let distance = decimal(distance)
        .filter(|distance| (1..=EventId::DISTANCE_MAX).contains(distance))
        .ok_or("has a skip whose distance is not a plain number from 1 to 4294967295")?;
    let offset = offset.checked_add(distance).ok_or("has a skip beyond the last 64-bit offset")?;
    Ok(Skip { offset, tag: tag_of(tag)? })
}

fn tag_of(text: &str) -> Result<Tag, &'static str> {
    hex(text, 8)
        .and_then(|tag| u32::try_from(tag).ok())
        .map(Tag)
        .ok_or("has a tag that is not 8 lowercase hex digits")
}

/// Parses exactly `digits` lowercase hex digits.
fn hex(text: &str, digits: usize) -> Option<u64> {
    let plain = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// Parses digits, without a sign or leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
