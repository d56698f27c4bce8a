//! Reads what publishers send: one JSON object, a list of them, or NDJSON.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde::de::IgnoredAny;

use super::json::{compact, kind, read};
use super::members::{Member, Members, NAMES};
use super::split::{BatchElement, elements, extent, lines, trim};
use crate::channel::ChannelName;
use crate::code::Code;
use crate::event_name::EventName;
use crate::priority::Priority;
use crate::quote::{quoted, suggestion};

/// Messages that one batch may have.
pub const BATCH_MESSAGES_MAX: usize = 10_000;

/// Channels that one message may name, each counted once.
pub const MESSAGE_CHANNELS_MAX: usize = 256;

/// Length of a key and of an idempotency key.
pub const KEY_BYTES_MAX: usize = 200;

/// Brackets that a body may have open at once; in NDJSON, each of its lines.
pub const JSON_DEPTH_MAX: usize = 128;

/// Longest time to live: ten years of 365 days.
pub const TTL_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// One event to publish, checked but for the limits that are settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishMessage {
    /// Where it goes: at least one, each once, in the order they were named.
    pub channels: Vec<ChannelName>,
    /// Its name.
    pub event: Option<EventName>,
    /// Its text.
    pub data: String,
    /// How urgent it is.
    pub priority: Priority,
    /// Of several pending events with this key only the newest is sent.
    pub key: Option<String>,
    /// How long it is worth sending.
    pub ttl: Option<Duration>,
    /// Whether it is stored.
    pub store: bool,
    /// A repeat with this key is the same event.
    pub idempotency_key: Option<String>,
}

/// What a publisher sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishBody<Message = PublishMessage> {
    /// One object: the answer is one object.
    One(Message),
    /// A list or NDJSON: the answer is a list. Never empty.
    Batch(Vec<Message>),
}

/// Why a body is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyError {
    /// What went wrong, for programs.
    pub code: Code,
    /// The first bad message of a batch, from 0; none where the fault is the body's own.
    pub index: Option<usize>,
    /// What went wrong, for people.
    pub detail: String,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        self.index.map_or(Ok(()), |index| write!(f, " (message {index})"))
    }
}

impl std::error::Error for BodyError {}

/// A key or time to live that cannot be used; its text is the detail of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError(String);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

/// Checks a key or an idempotency key: 1 to [`KEY_BYTES_MAX`] bytes without control characters.
///
/// # Errors
/// [`ValueError`], which names the key as `name`.
pub fn check_key(name: &str, key: &str) -> Result<(), ValueError> {
    if key.is_empty() {
        return Err(ValueError(format!(
            "{name} is empty; it has 1 to {KEY_BYTES_MAX} bytes, or leave it out"
        )));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(ValueError(format!("{name} is {} bytes; limit is {KEY_BYTES_MAX}", key.len())));
    }
    if key.chars().any(char::is_control) {
        return Err(ValueError(format!("{name} {} has control characters; leave them out", quoted(key))));
    }
    Ok(())
}

/// Reads a time to live: a whole number of milliseconds from 1 to [`TTL_MAX`].
///
/// # Errors
/// [`ValueError`] for anything else.
pub fn parse_ttl(text: &str) -> Result<Duration, ValueError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let ttl = is_number.then(|| text.parse().ok().map(Duration::from_millis)).flatten();
    ttl.filter(|ttl| !ttl.is_zero() && *ttl <= TTL_MAX).ok_or_else(|| {
        ValueError(format!(
            "ttl {} is not a whole number of milliseconds from 1 to {}",
            quoted(text),
            TTL_MAX.as_millis()
        ))
    })
}

/// Reads a publish body: an object, a list of objects, or NDJSON.
///
/// Without a content type the text decides: it is NDJSON if its first line is a whole object and more lines follow.
///
/// # Errors
/// [`BodyError`] for the body's first fault. Nothing of a batch with a fault is to be published.
pub fn parse_publish(content_type: Option<&str>, body: &[u8]) -> Result<PublishBody, BodyError> {
    parse_publish_with(content_type, body, &mut |_, message| Ok(message))
}

/// Reads a publish body as [`parse_publish`], and gives each message to `check` once it is parsed, before the next one is
/// looked at: the first fault is that of the first bad message, of whatever kind. `check` gets its index in a batch.
///
/// # Errors
/// Those of [`parse_publish`] and of `check`, whichever comes first.
pub fn parse_publish_with<Message, Error: From<BodyError>>(
    content_type: Option<&str>,
    body: &[u8],
    check: &mut dyn FnMut(Option<usize>, PublishMessage) -> Result<Message, Error>,
) -> Result<PublishBody<Message>, Error> {
    let text = trim(body);
    if text.is_empty() {
        let detail = "body is empty; send a JSON object, a list of them, or NDJSON";
        return Err(message_error(Code::MalformedBody, detail).at(None).into());
    }
    match body_format(content_type, text).map_err(|error| error.at(None))? {
        BodyFormat::Ndjson => parse_batch(lines(text).map(BatchElement::Message), 0, check),
        BodyFormat::Json => match text.strip_prefix(b"[") {
            Some(list) => parse_batch(elements(list), 1, check),
            None => {
                let message = parse_message(text, 0).map_err(|error| error.at(None))?;
                check(None, message).map(PublishBody::One)
            }
        },
    }
}

/// What is wrong with one message, wherever it stands.
#[derive(Debug)]
struct MessageError {
    code: Code,
    detail: String,
}

impl MessageError {
    fn at(self, index: Option<usize>) -> BodyError {
        BodyError { code: self.code, index, detail: self.detail }
    }
}

fn message_error(code: Code, detail: impl fmt::Display) -> MessageError {
    MessageError { code, detail: detail.to_string() }
}

enum BodyFormat {
    Json,
    Ndjson,
}

fn body_format(content_type: Option<&str>, text: &[u8]) -> Result<BodyFormat, MessageError> {
    let content_type = content_type.map(str::trim).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts.filter_map(|part| part.split_once('=')).find_map(|(name, value)| {
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    if let Some(charset) = charset.filter(|charset| !matches!(&**charset, "utf-8" | "utf8" | "us-ascii")) {
        let detail = format!("charset {} is not taken; send UTF-8", quoted(&charset));
        return Err(message_error(Code::UnsupportedMediaType, detail));
    }
    match &*essence {
        "application/json" => Ok(BodyFormat::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(BodyFormat::Ndjson),
        "" => {
            let first_line = memchr::memchr(b'\n', text).map(|end| trim(&text[..end]));
            let is_lines = first_line.is_some_and(is_whole_object);
            Ok(if is_lines { BodyFormat::Ndjson } else { BodyFormat::Json })
        }
        _ => {
            let detail = format!(
                "content type {} is not taken; send the header Content-Type: application/json, or application/x-ndjson",
                quoted(content_type)
            );
            Err(message_error(Code::UnsupportedMediaType, detail))
        }
    }
}

/// Returns whether the line's brackets close by its end.
fn is_whole_object(line: &[u8]) -> bool {
    // The outermost bracket, left out, is then the one that ends the value from outside.
    let Some(inside) = line.strip_prefix(b"{") else { return false };
    let mut at = 0;
    loop {
        at += extent(&inside[at..]).end;
        match inside.get(at) {
            Some(b',') => at += 1,
            Some(b'}') => return true,
            _ => return false,
        }
    }
}

fn parse_batch<'a, Message, Error: From<BodyError>>(
    pieces: impl Iterator<Item = BatchElement<'a>>,
    depth_outside: usize,
    check: &mut dyn FnMut(Option<usize>, PublishMessage) -> Result<Message, Error>,
) -> Result<PublishBody<Message>, Error> {
    let mut messages = Vec::new();
    let mut idempotency_keys = HashSet::new();
    for (index, piece) in pieces.enumerate() {
        let text = match piece {
            BatchElement::Message(text) => text,
            BatchElement::Unclosed => {
                return Err(message_error(Code::MalformedBody, "list in the body has no \"]\"")
                    .at(None)
                    .into());
            }
            BatchElement::Trailing => {
                let detail = "body goes on after its list; send one list, or NDJSON with one object a line";
                return Err(message_error(Code::MalformedBody, detail).at(None).into());
            }
        };
        if index == BATCH_MESSAGES_MAX {
            let detail =
                format!("batch has more than {BATCH_MESSAGES_MAX} messages; send the rest in another");
            return Err(message_error(Code::BatchTooLarge, detail).at(Some(index)).into());
        }
        let message = parse_message(text, depth_outside).map_err(|error| error.at(Some(index)))?;
        if let Some(key) = &message.idempotency_key
            && !idempotency_keys.insert(key.clone())
        {
            let detail = format!(
                "idempotency key {} stands twice in the batch; give each message its own",
                quoted(key)
            );
            return Err(message_error(Code::DuplicateIdempotencyKey, detail).at(Some(index)).into());
        }
        messages.push(check(Some(index), message)?);
    }
    if messages.is_empty() {
        return Err(message_error(Code::MalformedBody, "batch has no messages; send at least one")
            .at(None)
            .into());
    }
    Ok(PublishBody::Batch(messages))
}

fn parse_message(text: &[u8], depth_outside: usize) -> Result<PublishMessage, MessageError> {
    let text = std::str::from_utf8(text).map_err(|error| {
        message_error(
            Code::InvalidUtf8,
            format!("message is not UTF-8 at its byte {}; send UTF-8", error.valid_up_to()),
        )
    })?;
    if !text.starts_with('{') {
        let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
        let what = if is_json { kind(text) } else { "no JSON" };
        let detail = format!("message is {what}; it must be an object");
        return Err(message_error(Code::MalformedBody, detail));
    }
    if extent(text.as_bytes()).depth + depth_outside > JSON_DEPTH_MAX {
        let detail = format!("message is nested deeper than {JSON_DEPTH_MAX}; send deeper data as a string");
        return Err(message_error(Code::MalformedBody, detail));
    }
    let members: Members<'_> = serde_json::from_str(text)
        .map_err(|error| message_error(Code::MalformedBody, format!("message is not valid JSON: {error}")))?;
    if let Some(unknown) = &members.unknown {
        let detail = format!("message has no member {}; {}", quoted(unknown), suggestion(unknown, &NAMES));
        return Err(message_error(Code::UnknownMember, detail));
    }
    if let Some(repeated) = members.repeated {
        return Err(message_error(
            Code::MalformedBody,
            format!("member \"{repeated}\" stands twice; send it once"),
        ));
    }
    let channels = read_audience(&members)?;
    let event = string(&members, Member::Event)?
        .map(|name| EventName::parse(&name).map_err(|error| message_error(Code::BadEventName, error)))
        .transpose()?;
    let data = read_data(&members)?;
    let priority = string(&members, Member::Priority)?.map_or(Ok(Priority::Normal), |word| {
        word.parse().map_err(|error| message_error(Code::BadPriority, error))
    })?;
    let key = read_key(&members, Member::Key, Code::BadKey)?;
    let ttl = members
        .value(Member::Ttl)
        .map(|json| parse_ttl(json).map_err(|error| message_error(Code::BadTtl, error)))
        .transpose()?;
    let store = boolean(&members, Member::Store)?.unwrap_or(true);
    let idempotency_key = read_key(&members, Member::IdempotencyKey, Code::BadIdempotencyKey)?;
    if !store && idempotency_key.is_some() {
        let detail = "idempotencyKey goes with stored events only; leave it out or \"store\":false";
        return Err(message_error(Code::BadIdempotencyKey, detail));
    }
    Ok(PublishMessage { channels, event, data, priority, key, ttl, store, idempotency_key })
}

fn read_audience(members: &Members<'_>) -> Result<Vec<ChannelName>, MessageError> {
    let mut channels = Vec::new();
    let mut seen = HashSet::new();
    for json in list(members, Member::Channels)? {
        let json = json?;
        let name: String = read(json).ok_or_else(|| {
            message_error(
                Code::MalformedBody,
                format!("\"channels\" has {} in it; each is a string", found(json)),
            )
        })?;
        let channel = ChannelName::parse(&name).map_err(|error| {
            let code = if error.is_reserved() { Code::ReservedChannel } else { Code::BadChannel };
            message_error(code, error)
        })?;
        if !seen.insert(channel.clone()) {
            continue;
        }
        if channels.len() == MESSAGE_CHANNELS_MAX {
            let detail = format!("message names more than {MESSAGE_CHANNELS_MAX} channels; send several");
            return Err(message_error(Code::TooManyChannels, detail));
        }
        channels.push(channel);
    }
    let is_unbuilt = [
        (Member::Users, list(members, Member::Users)?.next().is_some()),
        (Member::Sessions, list(members, Member::Sessions)?.next().is_some()),
        (Member::All, boolean(members, Member::All)? == Some(true)),
        (Member::Where, members.value(Member::Where).is_some()),
    ];
    if let Some((member, _)) = is_unbuilt.into_iter().find(|(_, is_given)| *is_given) {
        let detail = format!("\"{}\" is not available yet; name \"channels\"", member.name());
        return Err(message_error(Code::NotAvailable, detail));
    }
    if channels.is_empty() {
        let detail = "message has no audience; name at least one channel in \"channels\"";
        return Err(message_error(Code::NoAudience, detail));
    }
    Ok(channels)
}

fn read_data(members: &Members<'_>) -> Result<String, MessageError> {
    let json = members.text(Member::Data).ok_or_else(|| {
        message_error(
            Code::MissingData,
            "message has no \"data\"; send a string, or any JSON (null is the text null)",
        )
    })?;
    let data = if json.starts_with('"') { read(json) } else { compact(json) };
    data.ok_or_else(|| {
        message_error(
            Code::MalformedBody,
            "data has a lone surrogate, which is no text; send both halves or neither",
        )
    })
}

fn read_key(members: &Members<'_>, member: Member, code: Code) -> Result<Option<String>, MessageError> {
    let key = string(members, member)?;
    if let Some(key) = &key {
        check_key(member.name(), key).map_err(|error| message_error(code, error))?;
    }
    Ok(key)
}

fn string(members: &Members<'_>, member: Member) -> Result<Option<String>, MessageError> {
    members.value(member).map(|json| read(json).ok_or_else(|| mistyped(member, json, "a string"))).transpose()
}

fn boolean(members: &Members<'_>, member: Member) -> Result<Option<bool>, MessageError> {
    members
        .value(member)
        .map(|json| read(json).ok_or_else(|| mistyped(member, json, "true or false")))
        .transpose()
}

/// Returns the JSON of each element, one at a time: a list may hold millions, of which few are kept.
fn list<'a>(
    members: &Members<'a>,
    member: Member,
) -> Result<impl Iterator<Item = Result<&'a str, MessageError>>, MessageError> {
    let json = members.value(member).unwrap_or("[]");
    let Some(rest) = json.strip_prefix('[') else { return Err(mistyped(member, json, "a list of strings")) };
    // The list is valid JSON, so it is closed; and text is cut at ASCII characters only.
    Ok(elements(rest.as_bytes()).map(move |piece| match piece {
        BatchElement::Message(element) => {
            std::str::from_utf8(element).map_err(|_| mistyped(member, json, "UTF-8"))
        }
        BatchElement::Unclosed | BatchElement::Trailing => Err(mistyped(member, json, "a list")),
    }))
}

fn mistyped(member: Member, json: &str, wanted: &str) -> MessageError {
    message_error(
        Code::MalformedBody,
        format!("\"{}\" is {}; it must be {wanted}", member.name(), found(json)),
    )
}

/// Says what was found in the place of something else.
fn found(json: &str) -> &'static str {
    if compact(json).is_some() { kind(json) } else { "text with a lone surrogate" }
}

#[cfg(test)]
mod tests;
