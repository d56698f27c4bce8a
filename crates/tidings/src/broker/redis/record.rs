//! An entry as fields of the stream.
//!
//! `e` epoch, `t` tag and `v` the tag of the entry before (hex), `c` channels with spaces between, `at` milliseconds since 1970, `d` the text; where given `n`
//! the event's name, `p` priority, `k` key, `x` when it expires. Fields of other names are a later version's, and passed over.

use tidings_protocol::{ChannelName, Epoch, EventName, Priority, Tag};

use super::{
    fault::Fault,
    wire::{Command, Reply},
};
use crate::log::entry::Draft;

/// An entry of the stream.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) offset: u64,
    /// The epoch it was appended in.
    pub(crate) epoch: Epoch,
    pub(crate) tag: Tag,
    /// Of the entry before it, or the tag that compares with none: who holds another one there is of another past.
    pub(crate) before: Tag,
    /// Without its idempotency: Redis keeps that elsewhere.
    pub(crate) draft: Draft,
}

/// Pushes what a draft says, after how many texts that is; epoch and tag are the script's to add.
pub(super) fn push_fields(draft: &Draft, command: &mut Command) {
    let channels = draft.channels.iter().map(ChannelName::as_str).collect::<Vec<_>>().join(" ");
    let published_at = draft.published_at.to_string();
    let expires_at = draft.expires_at.map(|at| at.to_string());
    let priority = (draft.priority != Priority::Normal).then(|| draft.priority.as_str());
    let fields = [
        ("c", Some(channels.as_str())),
        ("at", Some(published_at.as_str())),
        ("n", draft.event.as_ref().map(EventName::as_str)),
        ("p", priority),
        ("k", draft.key.as_deref()),
        ("x", expires_at.as_deref()),
        ("d", Some(&*draft.data)),
    ];
    let present = fields.iter().filter(|(_, value)| value.is_some()).count();
    command.push_number(2 * present as u64);
    for (name, value) in fields {
        if let Some(value) = value {
            command.push(name);
            command.push(value);
        }
    }
}

/// Reads what `XRANGE` answers.
pub(super) fn decode_all(reply: &Reply) -> Result<Vec<Stored>, Fault> {
    let entries = reply.array().ok_or_else(|| Fault::damaged("the log is no stream"))?;
    entries.iter().map(decode).collect()
}

/// The offset of an entry: all of its id but the `-0`.
pub(super) fn offset(entry: &Reply) -> Result<u64, Fault> {
    let id = entry.array().and_then(|parts| parts.first()).and_then(Reply::str).unwrap_or_default();
    let offset = id.strip_suffix("-0").and_then(|digits| digits.parse().ok());
    offset.ok_or_else(|| Fault::damaged(format!("the log has an entry with the id {id:?}")))
}

fn decode(entry: &Reply) -> Result<Stored, Fault> {
    let offset = offset(entry)?;
    let fields = entry.array().and_then(|parts| parts.get(1)).and_then(Reply::array).unwrap_or_default();
    let fields = Fields::collect(fields).map_err(|fault| Fault::damaged_at(offset, fault))?;
    fields.decode(offset).map_err(|fault| Fault::damaged_at(offset, fault))
}

/// The values by name.
#[derive(Default)]
struct Fields<'a> {
    epoch: Option<&'a str>,
    tag: Option<&'a str>,
    before: Option<&'a str>,
    channels: Option<&'a str>,
    data: Option<&'a str>,
    event: Option<&'a str>,
    priority: Option<&'a str>,
    key: Option<&'a str>,
    published_at: Option<&'a str>,
    expires_at: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn collect(texts: &'a [Reply]) -> Result<Self, String> {
        let mut fields = Self::default();
        for pair in texts.chunks(2) {
            let [name, value] = pair else { return Err("a field has no value".into()) };
            let field = match name.text().unwrap_or_default() {
                b"e" => &mut fields.epoch,
                b"t" => &mut fields.tag,
                b"v" => &mut fields.before,
                b"c" => &mut fields.channels,
                b"d" => &mut fields.data,
                b"n" => &mut fields.event,
                b"p" => &mut fields.priority,
                b"k" => &mut fields.key,
                b"at" => &mut fields.published_at,
                b"x" => &mut fields.expires_at,
                _ => continue,
            };
            let name = || name.str().unwrap_or_default();
            let value = value.str().ok_or_else(|| format!("field {} is not UTF-8, or too large", name()))?;
            if field.replace(value).is_some() {
                return Err(format!("field {} stands twice", name()));
            }
        }
        Ok(fields)
    }

    fn decode(&self, offset: u64) -> Result<Stored, String> {
        let epoch = hex(required("e", self.epoch)?, 16).ok_or("field e is no epoch")?;
        let tag = |text| hex(text, 8).and_then(|tag| u32::try_from(tag).ok()).map(Tag);
        let before = self.before.map_or(Some(Tag(0)), tag).ok_or("field v is no tag")?;
        let tag = tag(required("t", self.tag)?).filter(|tag| *tag != Tag(0)).ok_or("field t is no tag")?;
        let channels = required("c", self.channels)?.split(' ').map(ChannelName::parse);
        let event = self.event.map(EventName::parse).transpose();
        let priority = self.priority.map_or(Ok(Priority::Normal), str::parse);
        let draft = Draft {
            channels: channels.collect::<Result<_, _>>().map_err(|error| format!("field c: {error}"))?,
            event: event.map_err(|error| format!("field n: {error}"))?,
            data: required("d", self.data)?.into(),
            priority: priority.map_err(|error| format!("field p: {error}"))?,
            key: self.key.map(Into::into),
            published_at: millis("at", required("at", self.published_at)?)?,
            expires_at: self.expires_at.map(|text| millis("x", text)).transpose()?,
            idempotency: None,
        };
        Ok(Stored { offset, epoch: Epoch(epoch), tag, before, draft })
    }
}

fn required<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, String> {
    value.ok_or_else(|| format!("field {name} is missing"))
}

fn millis(name: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("field {name} is no time"))
}

/// Reads so many lowercase hex digits.
pub(super) fn hex(text: &str, digits: usize) -> Option<u64> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests;
