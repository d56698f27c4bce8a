//! One stored event, as every reader shares it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidings_protocol::{ChannelName, Epoch, EventId, EventName, Priority, Skip, Tag, sse};

/// Milliseconds since 1970, by the wall clock.
pub type Millis = u64;

/// Highest offset that is read from a file or from Redis: Lua numbers are exact up to here, and one more always fits.
pub(crate) const OFFSET_MAX: u64 = (1 << 53) - 1;

/// Returns an offset that came from outside, unless it is above 2^53 - 1.
pub fn offset_within(offset: u64) -> Option<u64> {
    (offset <= OFFSET_MAX).then_some(offset)
}

/// Returns a duration in milliseconds, or [`Millis::MAX`] if it is longer.
pub fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

/// A published event, checked and stamped with the time, before it has an offset.
#[derive(Debug, Clone)]
pub struct NewEntry {
    pub channels: Box<[ChannelName]>,
    pub event: Option<EventName>,
    pub data: Box<str>,
    pub priority: Priority,
    pub key: Option<Arc<str>>,
    pub published_at: Millis,
    pub expires_at: Option<Millis>,
    /// Stored with the entry, so that a repeat is recognised after a restart.
    pub idempotency: Option<Idempotency>,
}

/// Publisher, idempotency key and content of a publish, to recognise its repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    pub publisher: Arc<str>,
    pub key: Arc<str>,
    /// Hash of channels, event and data: a repeat with another one is a conflict.
    pub fingerprint: [u8; 16],
}

/// A stored event with its offset. All readers share it; its frame is encoded once.
#[derive(Debug)]
pub struct Entry {
    pub offset: u64,
    /// The epoch it was appended in; ids are written in the newest, which may be another.
    pub epoch: Epoch,
    pub tag: Tag,
    pub channels: Box<[ChannelName]>,
    pub event: Option<EventName>,
    pub priority: Priority,
    pub key: Option<Arc<str>>,
    pub published_at: Millis,
    pub expires_at: Option<Millis>,
    pub idempotency: Option<Idempotency>,
    /// Event and data lines, the id line of `framed_in`, a blank line.
    frame: Bytes,
    /// Bytes of the event and data lines in `frame`.
    lines_len: usize,
    framed_in: Epoch,
    /// Bytes of the text as it was published.
    data_len: usize,
    /// The text, if its lines do not all end in LF: `frame` ends every line in LF.
    original: Option<Box<str>>,
}

impl Entry {
    /// Encodes an event with its offset. `newest` is the epoch that ids are written in.
    pub fn new(new_entry: NewEntry, offset: u64, epoch: Epoch, tag: Tag, newest: Epoch) -> Self {
        let name = new_entry.event.as_ref().map(EventName::as_str);
        let mut frame = Vec::with_capacity(new_entry.data.len() + name.map_or(0, str::len) + 80);
        sse::write_event_lines(&mut frame, name, &new_entry.data);
        let lines_len = frame.len();
        sse::write_id_line(&mut frame, &EventId::new(newest, offset, tag));
        sse::write_end(&mut frame);
        let data_len = new_entry.data.len();
        let original = memchr::memchr(b'\r', new_entry.data.as_bytes()).is_some().then_some(new_entry.data);
        Self {
            offset,
            epoch,
            tag,
            channels: new_entry.channels,
            event: new_entry.event,
            priority: new_entry.priority,
            key: new_entry.key,
            published_at: new_entry.published_at,
            expires_at: new_entry.expires_at,
            idempotency: new_entry.idempotency,
            frame: Bytes::from(frame),
            lines_len,
            framed_in: newest,
            data_len,
            original,
        }
    }

    /// The frame with the id that resumes after this entry.
    pub fn frame(&self, newest: Epoch, skips: &[Skip]) -> Bytes {
        if newest == self.framed_in && skips.is_empty() {
            return self.frame.clone();
        }
        let mut id = EventId::new(newest, self.offset, self.tag);
        id.skips = skips.to_vec();
        self.frame_with_id(Some(&id))
    }

    /// Bytes of the frame as it was encoded.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.frame.len()
    }

    /// The frame with another id, or with none.
    pub fn frame_with_id(&self, id: Option<&EventId>) -> Bytes {
        let mut frame = Vec::with_capacity(self.lines_len + 264);
        frame.extend_from_slice(&self.frame[..self.lines_len]);
        if let Some(id) = id {
            sse::write_id_line(&mut frame, id);
        }
        sse::write_end(&mut frame);
        Bytes::from(frame)
    }

    /// The text as it was published.
    pub fn data(&self) -> String {
        if let Some(original) = &self.original {
            return original.to_string();
        }
        let mut text = Vec::with_capacity(self.lines_len);
        let name_lines = usize::from(self.event.is_some());
        for (index, line) in self.frame[..self.lines_len].split(|byte| *byte == b'\n').enumerate() {
            if index < name_lines || line.is_empty() {
                continue;
            }
            if index > name_lines {
                text.push(b'\n');
            }
            text.extend_from_slice(line.strip_prefix(b"data: ").unwrap_or_default());
        }
        String::from_utf8(text).expect("frames are made of text")
    }

    /// Bytes that the entry takes in memory; near enough for a bound.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.frame.len()
            + self.original.as_deref().map_or(0, str::len)
            + self.channels.len() * size_of::<ChannelName>()
    }

    /// Bytes of its record in the store.
    pub fn record_bytes(&self) -> u32 {
        let Self { channels, event, key, idempotency, data_len, .. } = self;
        let bytes = record_bytes(channels, event.as_ref(), key.as_deref(), idempotency.as_ref(), *data_len);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// The fields that the index needs.
    pub fn meta(&self) -> EntryMeta<'_> {
        EntryMeta {
            offset: self.offset,
            tag: self.tag,
            channels: &self.channels,
            priority: self.priority,
            key: self.key.as_ref(),
            published_at: self.published_at,
            expires_at: self.expires_at,
            idempotency: self.idempotency.as_ref(),
            record_bytes: self.record_bytes(),
        }
    }

    /// Whether each reader gets the entry, and in order: it has no expiry, no key and no priority.
    pub fn is_plain(&self) -> bool {
        self.priority == Priority::Normal && self.key.is_none() && self.expires_at.is_none()
    }

    /// Whether the entry has expired.
    pub fn has_expired(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

/// All fields of an entry but the text: the index needs them.
#[derive(Debug, Clone, Copy)]
pub struct EntryMeta<'a> {
    pub offset: u64,
    pub tag: Tag,
    pub channels: &'a [ChannelName],
    pub priority: Priority,
    pub key: Option<&'a Arc<str>>,
    pub published_at: Millis,
    pub expires_at: Option<Millis>,
    pub idempotency: Option<&'a Idempotency>,
    pub record_bytes: u32,
}

/// An event that is not stored. Connections that are not behind get it, after the entries up to `after`.
#[derive(Debug, Clone)]
pub struct TransientEvent {
    pub after: u64,
    pub frame: Bytes,
}

/// The frame of an event that is not stored: it has no id.
pub fn frame_without_id(event: Option<&EventName>, data: &str) -> Bytes {
    let mut frame = Vec::with_capacity(data.len() + 32);
    sse::write_event_lines(&mut frame, event.map(EventName::as_str), data);
    sse::write_end(&mut frame);
    Bytes::from(frame)
}

/// Bytes of a record: its text, its names and keys with their lengths, and fields of fixed size.
fn record_bytes(
    channels: &[ChannelName],
    event: Option<&EventName>,
    key: Option<&str>,
    idempotency: Option<&Idempotency>,
    data_len: usize,
) -> usize {
    const FIXED_BYTES: usize = 48;
    let names: usize = channels.iter().map(|channel| channel.as_str().len() + 1).sum();
    let event = event.map_or(0, |event| event.as_str().len() + 1);
    let key = key.map_or(0, |key| key.len() + 1);
    let idempotency = idempotency.map_or(0, |it| it.publisher.len() + it.key.len() + 18);
    FIXED_BYTES + names + event + key + idempotency + data_len
}

impl NewEntry {
    /// Bytes of its record in the store.
    pub fn record_bytes(&self) -> usize {
        let Self { channels, event, key, idempotency, data, .. } = self;
        record_bytes(channels, event.as_ref(), key.as_deref(), idempotency.as_ref(), data.len())
    }

    /// The frame of an event that is not stored: it has no id.
    pub fn frame_without_id(&self) -> Bytes {
        frame_without_id(self.event.as_ref(), &self.data)
    }
}
