//! Parses one message of a publish.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::BodyError;
use super::json::{compact, kind, read};
use super::members::{Member, Members};
use super::split::{BatchElement, elements, extent};
use super::values::{check_key, parse_ttl};
use crate::channel::ChannelName;
use crate::code::Code;
use crate::event_name::EventName;
use crate::priority::Priority;
use crate::quote::{quoted, suggestion};

/// Channels of one message, at most; a repeated channel counts once.
pub const MESSAGE_CHANNELS_MAX: usize = 256;

/// Brackets that a body may have open at once; in NDJSON, each of its lines.
pub const JSON_DEPTH_MAX: usize = 128;

/// One event to publish, checked except for the limits that are settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishMessage {
    /// Its channels: at least one, each once, in the order of the message.
    pub channels: Vec<ChannelName>,
    /// Its name.
    pub event: Option<EventName>,
    /// Its data.
    pub data: String,
    /// Its priority.
    pub priority: Priority,
    /// Its key: of several pending events with this key only the newest is sent.
    pub key: Option<String>,
    /// Its time to live.
    pub ttl: Option<Duration>,
    /// Whether it is stored.
    pub store: bool,
    /// Its idempotency key: a repeat with this key is the same event.
    pub idempotency_key: Option<String>,
}

/// Parses a message that stands within `depth_outside` brackets.
pub(super) fn parse_message(text: &[u8], depth_outside: usize) -> Result<PublishMessage, BodyError> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let detail = format!("message is not UTF-8 at its byte {}; send UTF-8", error.valid_up_to());
        BodyError::new(Code::InvalidUtf8, detail)
    })?;
    let malformed = |detail: String| BodyError::new(Code::MalformedBody, detail);
    if !text.starts_with('{') {
        let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
        let found = if is_json { kind(text) } else { "no JSON" };
        return Err(malformed(format!("message is {found}; it must be an object")));
    }
    if extent(text.as_bytes()).depth + depth_outside > JSON_DEPTH_MAX {
        let detail = format!("message is nested deeper than {JSON_DEPTH_MAX}; send deeper data as a string");
        return Err(malformed(detail));
    }
    let members: Members<'_> = serde_json::from_str(text)
        .map_err(|error| malformed(format!("message is not valid JSON: {error}")))?;
    if let Some(unknown) = &members.unknown {
        let advice = suggestion(unknown, Member::WORDS);
        let detail = format!("message has no member {}; {advice}", quoted(unknown));
        return Err(BodyError::new(Code::UnknownMember, detail));
    }
    if let Some(repeated) = members.repeated {
        return Err(malformed(format!("member \"{repeated}\" is repeated; send it once")));
    }
    let channels = read_channels(&members)?;
    let event = string(&members, Member::Event)?
        .map(|name| EventName::parse(&name).map_err(|error| BodyError::new(Code::BadEventName, error)))
        .transpose()?;
    let data = read_data(&members)?;
    let priority = string(&members, Member::Priority)?.map_or(Ok(Priority::Normal), |word| {
        word.parse().map_err(|error| BodyError::new(Code::BadPriority, error))
    })?;
    let key = read_key(&members, Member::Key, Code::BadKey)?;
    let ttl = members
        .value(Member::Ttl)
        .map(|json| parse_ttl(json).map_err(|error| BodyError::new(Code::BadTtl, error)))
        .transpose()?;
    let store = value(&members, Member::Store, "true or false")?.unwrap_or(true);
    let idempotency_key = read_key(&members, Member::IdempotencyKey, Code::BadIdempotencyKey)?;
    if !store && idempotency_key.is_some() {
        let detail = "idempotencyKey is for stored events only; leave it out or \"store\":false";
        return Err(BodyError::new(Code::BadIdempotencyKey, detail));
    }
    Ok(PublishMessage { channels, event, data, priority, key, ttl, store, idempotency_key })
}

fn read_channels(members: &Members<'_>) -> Result<Vec<ChannelName>, BodyError> {
    let mut channels = Vec::new();
    let mut seen = HashSet::new();
    for json in list(members, Member::Channels)? {
        let json = json?;
        let name: String = read(json).ok_or_else(|| {
            let detail = format!("\"channels\" has {} in it; each is a string", found(json));
            BodyError::new(Code::MalformedBody, detail)
        })?;
        let channel = ChannelName::parse(&name).map_err(|error| {
            let code = if error.is_reserved() { Code::ReservedChannel } else { Code::BadChannel };
            BodyError::new(code, error)
        })?;
        if !seen.insert(channel.clone()) {
            continue;
        }
        if channels.len() == MESSAGE_CHANNELS_MAX {
            let detail = format!("message names more than {MESSAGE_CHANNELS_MAX} channels; send several");
            return Err(BodyError::new(Code::TooManyChannels, detail));
        }
        channels.push(channel);
    }
    let unsupported = [
        (Member::Users, list(members, Member::Users)?.next().is_some()),
        (Member::Sessions, list(members, Member::Sessions)?.next().is_some()),
        (Member::All, value(members, Member::All, "true or false")? == Some(true)),
        (Member::Where, members.value(Member::Where).is_some()),
    ];
    if let Some((member, _)) = unsupported.into_iter().find(|(_, is_given)| *is_given) {
        let detail = format!("\"{member}\" is not available yet; name \"channels\"");
        return Err(BodyError::new(Code::NotAvailable, detail));
    }
    if channels.is_empty() {
        let detail = "message has no audience; name at least one channel in \"channels\"";
        return Err(BodyError::new(Code::NoAudience, detail));
    }
    Ok(channels)
}

fn read_data(members: &Members<'_>) -> Result<String, BodyError> {
    let json = members.text(Member::Data).ok_or_else(|| {
        let detail = "message has no \"data\"; send a string, or any JSON (null is the text null)";
        BodyError::new(Code::MissingData, detail)
    })?;
    let data = if json.starts_with('"') { read(json) } else { compact(json) };
    data.ok_or_else(|| {
        let detail = "data has a lone surrogate, which is no text; send both halves or neither";
        BodyError::new(Code::MalformedBody, detail)
    })
}

fn read_key(members: &Members<'_>, member: Member, code: Code) -> Result<Option<String>, BodyError> {
    let key = string(members, member)?;
    if let Some(key) = &key {
        check_key(member.as_str(), key).map_err(|error| BodyError::new(code, error))?;
    }
    Ok(key)
}

fn string(members: &Members<'_>, member: Member) -> Result<Option<String>, BodyError> {
    value(members, member, "a string")
}

fn value<'a, T: Deserialize<'a>>(
    members: &Members<'a>,
    member: Member,
    wanted: &str,
) -> Result<Option<T>, BodyError> {
    let read = |json| read(json).ok_or_else(|| mistyped(member, json, wanted));
    members.value(member).map(read).transpose()
}

/// Returns the JSON of each element, one at a time: a list may hold millions of repeats.
fn list<'a>(
    members: &Members<'a>,
    member: Member,
) -> Result<impl Iterator<Item = Result<&'a str, BodyError>>, BodyError> {
    let json = members.value(member).unwrap_or("[]");
    let Some(rest) = json.strip_prefix('[') else { return Err(mistyped(member, json, "a list of strings")) };
    // The list is valid JSON, so it is closed, and its text is cut at ASCII characters only.
    Ok(elements(rest.as_bytes()).map(move |element| match element {
        BatchElement::Message(text) => std::str::from_utf8(text).map_err(|_| mistyped(member, json, "UTF-8")),
        BatchElement::Unclosed | BatchElement::Trailing => Err(mistyped(member, json, "a list")),
    }))
}

fn mistyped(member: Member, json: &str, wanted: &str) -> BodyError {
    BodyError::new(Code::MalformedBody, format!("\"{member}\" is {}; it must be {wanted}", found(json)))
}

/// Returns the kind of a JSON value, for a message.
fn found(json: &str) -> &'static str {
    if compact(json).is_some() { kind(json) } else { "text with a lone surrogate" }
}
