//! An entry as fields of the stream. Scripts expect `m` and `d` first. Unknown fields come from a later version and are skipped.
//!
//! | field | value |
//! |---|---|
//! | `m` | epoch (16 hex digits), tag (8), tag of the entry before as the publisher's node knew it (8), milliseconds since 1970, channels; separated by spaces |
//! | `d` | data |
//! | `v` | tag of the entry before, if it differs from that in `m` |
//! | `n` | event name, if any |
//! | `p` | priority, if it is not normal |
//! | `k` | key, if any |
//! | `x` | expiry time, if any |

// No reply of Redis may end a thread.
#![deny(clippy::expect_used)]

use tidings_log::{NewEntry, ReplicatedEntry, offset_within};
use tidings_protocol::{ChannelName, Epoch, EventName, Priority, Tag, body::MESSAGE_CHANNELS_MAX};
use tidings_redis::{RedisError, RedisReply};

use super::error::{corrupt, corrupt_at};

/// Returns the field `m`. It is one text, because Redis spends memory for each field of an entry.
pub(super) fn header(epoch: Epoch, tag: Tag, before: Tag, entry: &NewEntry) -> String {
    let mut header = format!("{epoch} {tag} {before} {}", entry.published_at);
    for channel in &entry.channels {
        header.push(' ');
        header.push_str(channel.as_str());
    }
    header
}

/// Returns the names and values of the other fields, mostly none.
pub(super) fn further_fields(entry: &NewEntry) -> Vec<(&'static str, String)> {
    let priority = (entry.priority != Priority::Normal).then(|| entry.priority.as_str());
    let fields = [
        ("n", entry.event.as_ref().map(|name| name.as_str().to_owned())),
        ("p", priority.map(str::to_owned)),
        ("k", entry.key.as_deref().map(str::to_owned)),
        ("x", entry.expires_at.map(|at| at.to_string())),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Reads the answer to `XRANGE`.
pub(super) fn decode_all(reply: &RedisReply) -> Result<Vec<ReplicatedEntry>, RedisError> {
    let entries = reply.array().ok_or_else(|| corrupt("the log is no stream"))?;
    entries.iter().map(decode).collect()
}

/// Returns the offset of an entry: its id without the `-0`.
pub(super) fn offset(entry: &RedisReply) -> Result<u64, RedisError> {
    let id = entry.array().and_then(|parts| parts.first()).and_then(RedisReply::str).unwrap_or_default();
    offset_of(id)
}

/// Returns the offset in an id.
pub(super) fn offset_of(id: &str) -> Result<u64, RedisError> {
    let offset = id.strip_suffix("-0").and_then(|digits| digits.parse().ok()).and_then(offset_within);
    offset.ok_or_else(|| corrupt(&format!("the log has an entry with the id {id:?}")))
}

fn decode(entry: &RedisReply) -> Result<ReplicatedEntry, RedisError> {
    let offset = offset(entry)?;
    let fields = entry.array().and_then(|parts| parts.get(1)).and_then(RedisReply::array).unwrap_or_default();
    let fields = RecordFields::collect(fields).map_err(|fault| corrupt_at(offset, &fault))?;
    fields.decode(offset).map_err(|fault| corrupt_at(offset, &fault))
}

/// Values of the fields.
#[derive(Default)]
struct RecordFields<'a> {
    header: Option<&'a str>,
    before: Option<&'a str>,
    data: Option<&'a str>,
    event: Option<&'a str>,
    priority: Option<&'a str>,
    key: Option<&'a str>,
    expires_at: Option<&'a str>,
}

impl<'a> RecordFields<'a> {
    fn collect(texts: &'a [RedisReply]) -> Result<Self, String> {
        let mut fields = Self::default();
        for pair in texts.chunks(2) {
            let [name, value] = pair else { return Err("a field has no value".into()) };
            let field = match name.text().unwrap_or_default() {
                b"m" => &mut fields.header,
                b"v" => &mut fields.before,
                b"d" => &mut fields.data,
                b"n" => &mut fields.event,
                b"p" => &mut fields.priority,
                b"k" => &mut fields.key,
                b"x" => &mut fields.expires_at,
                _ => continue,
            };
            let name = || name.str().unwrap_or_default();
            let value = value.str().ok_or_else(|| format!("field {} is not UTF-8, or too large", name()))?;
            if field.replace(value).is_some() {
                return Err(format!("field {} occurs twice", name()));
            }
        }
        Ok(fields)
    }

    fn decode(&self, offset: u64) -> Result<ReplicatedEntry, String> {
        let mut words = required("m", self.header)?.split(' ');
        let epoch = words.next().and_then(|word| hex(word, 16)).ok_or("field m has no epoch")?;
        let tag_of = |word| hex(word, 8).and_then(|tag| u32::try_from(tag).ok()).map(Tag);
        let tag = words.next().and_then(tag_of).filter(|tag| *tag != Tag(0)).ok_or("field m has no tag")?;
        let before = words.next().and_then(tag_of).ok_or("field m has no tag of the entry before")?;
        let before = self.before.map_or(Some(before), tag_of).ok_or("field v is no tag")?;
        let published_at = words.next().and_then(|word| word.parse().ok()).ok_or("field m has no time")?;
        let channels: Box<[ChannelName]> = words
            .by_ref()
            .take(MESSAGE_CHANNELS_MAX)
            .map(ChannelName::parse)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("a channel in field m: {error}"))?;
        if channels.is_empty() {
            return Err("field m has no channel".into());
        }
        if words.next().is_some() {
            return Err(format!("field m names more than {MESSAGE_CHANNELS_MAX} channels"));
        }
        let event = self.event.map(EventName::parse).transpose();
        let priority = self.priority.map_or(Ok(Priority::Normal), str::parse);
        let entry = NewEntry {
            channels,
            event: event.map_err(|error| format!("field n: {error}"))?,
            data: required("d", self.data)?.into(),
            priority: priority.map_err(|error| format!("field p: {error}"))?,
            key: self.key.map(Into::into),
            published_at,
            expires_at: self.expires_at.map(millis).transpose()?,
            idempotency: None,
        };
        Ok(ReplicatedEntry { offset, epoch: Epoch(epoch), tag, before, entry })
    }
}

fn required<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, String> {
    value.ok_or_else(|| format!("field {name} is missing"))
}

fn millis(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "field x is no time".into())
}

/// Reads a number of exactly `digits` lowercase hex digits.
pub(super) fn hex(text: &str, digits: usize) -> Option<u64> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests;
