//! Records: entries as bytes on disk, in batches.
//!
//! All numbers are little-endian. A batch is written with one call and is valid as a whole or not at all:
//!
//! ```text
//! batch   magic u32 | body length u32 | records u32 | CRC-32 of the body u32 | first offset u64 | 0 u32 | CRC-32 of these 28 bytes u32 | body
//! body    record…
//! record  length u32 | CRC-32 of the payload u32 | payload
//! payload offset u64 | epoch u64 | tag u32 | published u64 | expires u64 (0: never) | priority u8 | flags u8
//!         | channels u16, each: length u8, bytes | event? length u8, bytes | key? length u8, bytes
//!         | idempotency? publisher length u8, bytes, key length u8, bytes, fingerprint 16 bytes | data
//! ```

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use tidings_protocol::body::{KEY_BYTES_MAX, MESSAGE_CHANNELS_MAX};
use tidings_protocol::{CHANNEL_BYTES_MAX, ChannelName, Epoch, EventName, Priority, Tag};

use super::error::StoreError;
use crate::entry::{Entry, EntryMeta, Idempotency, Millis, NewEntry, offset_within};

/// First bytes of a batch: `TDB1`.
pub(crate) const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"TDB1");
/// Bytes of a batch before its body.
pub(crate) const BATCH_HEADER_BYTES: usize = 32;
/// Bytes of a record before its payload.
pub(crate) const RECORD_HEADER_BYTES: usize = 8;

/// Longest text whose length is stored in one byte.
pub const SHORT_BYTES_MAX: usize = u8::MAX as usize;
/// Bytes of a record, at most, without its text.
pub const RECORD_BYTES_BESIDE_TEXT_MAX: usize = RECORD_HEADER_BYTES
    + 40
    + MESSAGE_CHANNELS_MAX * (1 + CHANNEL_BYTES_MAX)
    + 4 * (1 + SHORT_BYTES_MAX)
    + 16;

const _: () = assert!(CHANNEL_BYTES_MAX <= SHORT_BYTES_MAX);
const _: () = assert!(EventName::BYTES_MAX <= SHORT_BYTES_MAX);
const _: () = assert!(KEY_BYTES_MAX <= SHORT_BYTES_MAX);
const _: () = assert!(MESSAGE_CHANNELS_MAX <= u16::MAX as usize);

const HAS_EVENT: u8 = 1;
const HAS_KEY: u8 = 2;
const HAS_IDEMPOTENCY: u8 = 4;

/// Position of a record in its file, from its length field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordPosition {
    pub(crate) offset: u64,
    pub(crate) position: u32,
    pub(crate) bytes: u32,
}

/// Encodes a batch for `position` of its file, and returns the position of each record.
///
/// # Errors
/// [`StoreError::NotStored`] if a length or a position does not fit its field.
pub(crate) fn encode_batch(
    entries: &[Arc<Entry>],
    position: u64,
) -> Result<(Vec<u8>, Vec<RecordPosition>), StoreError> {
    let mut out = vec![0; BATCH_HEADER_BYTES];
    let mut places = Vec::with_capacity(entries.len());
    for entry in entries {
        let start = out.len();
        out.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        encode_payload(entry, &mut out)?;
        let payload = &out[start + RECORD_HEADER_BYTES..];
        let length: u32 = narrow("a stored event", payload.len())?;
        let crc = crc32fast::hash(payload);
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        places.push(RecordPosition {
            offset: entry.offset,
            position: position_at(position, start)?,
            bytes: narrow("a stored event", out.len() - start)?,
        });
    }
    let first = entries.first().map_or(0, |entry| entry.offset);
    write_batch_header(&mut out, entries.len(), first)?;
    Ok((out, places))
}

/// Returns a length as the value of its field.
fn narrow<N: TryFrom<usize>>(name: &str, length: usize) -> Result<N, StoreError> {
    N::try_from(length).map_err(|_| too_long(name, length as u64, size_of::<N>()))
}

/// Returns the position of a record in its file.
fn position_at(batch: u64, start: usize) -> Result<u32, StoreError> {
    let position = batch.saturating_add(start as u64);
    u32::try_from(position).map_err(|_| too_long("a file of the log", position, size_of::<u32>()))
}

fn too_long(name: &str, length: u64, field_bytes: usize) -> StoreError {
    let detail = format!("{name} is too long: {length}; limit is what {field_bytes} bytes count");
    StoreError::NotStored(io::Error::new(io::ErrorKind::InvalidInput, detail))
}

/// Copies records of a file into a batch for `position` of another, and checks each.
///
/// # Errors
/// [`StoreError::Damaged`] with the entry that cannot be read.
pub(crate) fn copy_batch(
    file: &File,
    records: &[RecordPosition],
    position: u64,
) -> Result<(Vec<u8>, Vec<RecordPosition>), StoreError> {
    let mut out = vec![0; BATCH_HEADER_BYTES];
    let mut places = Vec::with_capacity(records.len());
    for record in records {
        let start = out.len();
        out.resize(start + record.bytes as usize, 0);
        let damaged = |fault: String| StoreError::Damaged { offset: record.offset, fault };
        file.read_exact_at(&mut out[start..], u64::from(record.position))
            .map_err(|error| damaged(error.to_string()))?;
        let (payload, _) = checked_payload(&out[start..]).map_err(damaged)?;
        match FieldReader(payload).u64() {
            Some(offset) if offset == record.offset => {}
            other => return Err(damaged(format!("event {other:?} stands in its place"))),
        }
        places.push(RecordPosition { position: position_at(position, start)?, ..*record });
    }
    let first = records.first().map_or(0, |record| record.offset);
    write_batch_header(&mut out, records.len(), first)?;
    Ok((out, places))
}

fn write_batch_header(batch: &mut [u8], records: usize, first: u64) -> Result<(), StoreError> {
    let (header, body) = batch.split_at_mut(BATCH_HEADER_BYTES);
    let body_bytes: u32 = narrow("a batch", body.len())?;
    let records: u32 = narrow("a batch's count of events", records)?;
    header[0..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
    header[4..8].copy_from_slice(&body_bytes.to_le_bytes());
    header[8..12].copy_from_slice(&records.to_le_bytes());
    header[12..16].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    header[16..24].copy_from_slice(&first.to_le_bytes());
    header[24..28].fill(0);
    let crc = crc32fast::hash(&header[..28]);
    header[28..32].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Header of a batch with a valid checksum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchHeader {
    pub(crate) body_bytes: usize,
    pub(crate) records: u32,
    pub(crate) body_crc: u32,
    pub(crate) first: u64,
}

/// Reads a batch header; `None` if it is not one.
pub(crate) fn decode_batch_header(bytes: &[u8]) -> Option<BatchHeader> {
    let mut cursor = FieldReader(bytes.get(..BATCH_HEADER_BYTES)?);
    let header = BatchHeader {
        body_bytes: {
            if cursor.u32()? != BATCH_MAGIC {
                return None;
            }
            cursor.u32()? as usize
        },
        records: cursor.u32()?,
        body_crc: cursor.u32()?,
        first: offset_within(cursor.u64()?)?,
    };
    (crc32fast::hash(&bytes[..28]).to_le_bytes() == bytes[28..32]).then_some(header)
}

fn encode_payload(entry: &Entry, out: &mut Vec<u8>) -> Result<(), StoreError> {
    out.extend_from_slice(&entry.offset.to_le_bytes());
    out.extend_from_slice(&entry.epoch.0.to_le_bytes());
    out.extend_from_slice(&entry.tag.0.to_le_bytes());
    out.extend_from_slice(&entry.published_at.to_le_bytes());
    out.extend_from_slice(&entry.expires_at.unwrap_or(0).to_le_bytes());
    out.push(entry.priority as u8);
    let flag = |present: bool, flag: u8| if present { flag } else { 0 };
    out.push(
        flag(entry.event.is_some(), HAS_EVENT)
            | flag(entry.key.is_some(), HAS_KEY)
            | flag(entry.idempotency.is_some(), HAS_IDEMPOTENCY),
    );
    let channels: u16 = narrow("an event's count of channels", entry.channels.len())?;
    out.extend_from_slice(&channels.to_le_bytes());
    for channel in &entry.channels {
        push_short(out, "a channel's name", channel.as_str())?;
    }
    if let Some(event) = &entry.event {
        push_short(out, "an event's name", event.as_str())?;
    }
    if let Some(key) = &entry.key {
        push_short(out, "a key", key)?;
    }
    if let Some(idempotency) = &entry.idempotency {
        push_short(out, "a publisher's name", &idempotency.publisher)?;
        push_short(out, "an idempotency key", &idempotency.key)?;
        out.extend_from_slice(&idempotency.fingerprint);
    }
    out.extend_from_slice(entry.data().as_bytes());
    Ok(())
}

fn push_short(out: &mut Vec<u8>, name: &str, text: &str) -> Result<(), StoreError> {
    out.push(narrow(name, text.len())?);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Reads one record, from its length field, and checks it.
///
/// # Errors
/// A description of the damage.
pub(crate) fn decode_record(bytes: &[u8], newest: Epoch) -> Result<Entry, String> {
    let (decoded, _) = decode_fields(bytes, &mut |name| ChannelName::parse(name).ok())?;
    decoded.into_entry(newest).ok_or_else(|| MALFORMED.into())
}

/// Reads one record without copying its text, and returns the position of the next. `parse` parses channel names.
///
/// # Errors
/// A description of the damage.
pub(crate) fn decode_fields<'a>(
    bytes: &'a [u8],
    parse: &mut dyn FnMut(&str) -> Option<ChannelName>,
) -> Result<(Decoded<'a>, usize), String> {
    let (payload, end) = checked_payload(bytes)?;
    let decoded = decode_payload(payload, parse).ok_or(MALFORMED)?;
    Ok((decoded, end))
}

/// Reads the fields of one record that a frame needs, without copying them.
///
/// # Errors
/// A description of the damage.
pub(crate) fn decode_text(bytes: &[u8]) -> Result<RecordText<'_>, String> {
    let (payload, _) = checked_payload(bytes)?;
    Ok(decode_text_fields(payload).ok_or(MALFORMED)?)
}

/// The fields of a record that a frame needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordText<'a> {
    pub(crate) offset: u64,
    pub(crate) tag: Tag,
    /// See [`Entry::is_plain`].
    pub(crate) is_plain: bool,
    pub(crate) event: Option<&'a str>,
    pub(crate) data: &'a str,
}

fn decode_text_fields(payload: &[u8]) -> Option<RecordText<'_>> {
    let mut cursor = FieldReader(payload);
    let offset = cursor.u64()?;
    let _epoch = cursor.u64()?;
    let tag = Tag(cursor.u32()?);
    let _published_at = cursor.u64()?;
    let expires_at = cursor.u64()?;
    let priority = cursor.u8()?;
    let flags = cursor.u8()?;
    for _ in 0..cursor.u16()? {
        cursor.skip_short()?;
    }
    let event = if flags & HAS_EVENT != 0 { Some(cursor.short()?) } else { None };
    let is_plain = priority == Priority::Normal as u8 && flags & HAS_KEY == 0 && expires_at == 0;
    if flags & HAS_KEY != 0 {
        cursor.skip_short()?;
    }
    if flags & HAS_IDEMPOTENCY != 0 {
        cursor.skip_short()?;
        cursor.skip_short()?;
        cursor.take(16)?;
    }
    Some(RecordText { offset, tag, is_plain, event, data: std::str::from_utf8(cursor.0).ok()? })
}

const MALFORMED: &str = "its fields are malformed";

/// The fields of a record.
pub(crate) struct Decoded<'a> {
    pub(crate) offset: u64,
    pub(crate) tag: Tag,
    epoch: Epoch,
    published_at: Millis,
    expires_at: Option<Millis>,
    priority: Priority,
    channels: Box<[ChannelName]>,
    event: Option<&'a str>,
    key: Option<Arc<str>>,
    idempotency: Option<Idempotency>,
    data: &'a str,
}

impl Decoded<'_> {
    pub(super) fn meta(&self, record_bytes: u32) -> EntryMeta<'_> {
        EntryMeta {
            offset: self.offset,
            tag: self.tag,
            channels: &self.channels,
            priority: self.priority,
            key: self.key.as_ref(),
            published_at: self.published_at,
            expires_at: self.expires_at,
            idempotency: self.idempotency.as_ref(),
            record_bytes,
        }
    }

    fn into_entry(self, newest: Epoch) -> Option<Entry> {
        let event = match self.event {
            Some(event) => Some(EventName::parse(event).ok()?),
            None => None,
        };
        let new_entry = NewEntry {
            channels: self.channels,
            event,
            data: self.data.into(),
            priority: self.priority,
            key: self.key,
            published_at: self.published_at,
            expires_at: self.expires_at,
            idempotency: self.idempotency,
        };
        Some(Entry::new(new_entry, self.offset, self.epoch, self.tag, newest))
    }
}

/// The payload of the record that begins here, and the position of the next.
fn checked_payload(bytes: &[u8]) -> Result<(&[u8], usize), String> {
    let mut cursor = FieldReader(bytes);
    let (Some(length), Some(crc)) = (cursor.u32(), cursor.u32()) else {
        return Err("its header is cut short".into());
    };
    let end = RECORD_HEADER_BYTES + length as usize;
    let Some(payload) = bytes.get(RECORD_HEADER_BYTES..end) else {
        return Err(format!("its length of {length} bytes passes the end"));
    };
    if crc32fast::hash(payload) != crc {
        return Err("its checksum differs".into());
    }
    Ok((payload, end))
}

fn decode_payload<'a>(
    payload: &'a [u8],
    parse: &mut dyn FnMut(&str) -> Option<ChannelName>,
) -> Option<Decoded<'a>> {
    let mut cursor = FieldReader(payload);
    let offset = offset_within(cursor.u64()?)?;
    let epoch = Epoch(cursor.u64()?);
    let tag = Tag(cursor.u32()?);
    let published_at = cursor.u64()?;
    let expires_at = Some(cursor.u64()?).filter(|at| *at > 0);
    let priority = match cursor.u8()? {
        0 => Priority::Low,
        1 => Priority::Normal,
        2 => Priority::High,
        3 => Priority::Critical,
        _ => return None,
    };
    let flags = cursor.u8()?;
    let count = usize::from(cursor.u16()?);
    let channels = (0..count).map(|_| parse(cursor.short()?)).collect::<Option<Box<[_]>>>()?;
    let event = if flags & HAS_EVENT != 0 { Some(cursor.short()?) } else { None };
    let key = if flags & HAS_KEY != 0 { Some(Arc::from(cursor.short()?)) } else { None };
    let idempotency = if flags & HAS_IDEMPOTENCY != 0 {
        Some(Idempotency {
            publisher: cursor.short()?.into(),
            key: cursor.short()?.into(),
            fingerprint: cursor.take(16)?.try_into().ok()?,
        })
    } else {
        None
    };
    let data = std::str::from_utf8(cursor.0).ok()?;
    Some(Decoded {
        offset,
        tag,
        epoch,
        published_at,
        expires_at,
        priority,
        channels,
        event,
        key,
        idempotency,
        data,
    })
}

/// The bytes not read yet.
pub(super) struct FieldReader<'a>(pub(super) &'a [u8]);

impl<'a> FieldReader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn skip_short(&mut self) -> Option<()> {
        let length = usize::from(self.u8()?);
        self.take(length).map(|_| ())
    }

    fn short(&mut self) -> Option<&'a str> {
        let length = usize::from(self.u8()?);
        std::str::from_utf8(self.take(length)?).ok()
    }
}

#[cfg(test)]
mod tests;
