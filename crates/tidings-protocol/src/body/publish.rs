//! Parses the body of a publish: one JSON object, a list of objects, or NDJSON.

use std::collections::HashSet;

use super::error::BodyError;
use super::message::{PublishMessage, parse_message};
use super::split::{BatchElement, elements, extent, lines, trim};
use crate::code::Code;
use crate::quote::quoted;

/// Messages of one batch, at most.
pub const BATCH_MESSAGES_MAX: usize = 10_000;

/// The parsed body of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishBody<Message = PublishMessage> {
    /// One object: the answer is one object.
    One(Message),
    /// A list or NDJSON: the answer is a list. Never empty.
    Batch(Vec<Message>),
}

/// Parses the body of a publish: an object, a list of objects, or NDJSON.
///
/// Without a content type, the body is NDJSON if its first line is a whole object and more lines follow.
///
/// # Errors
/// [`BodyError`] for the body's first error. No message of such a batch is to be published.
pub fn parse_publish(content_type: Option<&str>, body: &[u8]) -> Result<PublishBody, BodyError> {
    parse_publish_with(content_type, body, &mut |_, message| Ok(message))
}

/// Parses a body as [`parse_publish`] does, and calls `check` for each message before it parses the next one.
///
/// The first error is therefore that of the first bad message. `check` gets the message's index in a batch.
///
/// # Errors
/// The first error of [`parse_publish`] or of `check`.
pub fn parse_publish_with<Message, Error: From<BodyError>>(
    content_type: Option<&str>,
    body: &[u8],
    check: &mut dyn FnMut(Option<usize>, PublishMessage) -> Result<Message, Error>,
) -> Result<PublishBody<Message>, Error> {
    let text = trim(body);
    if text.is_empty() {
        let detail = "body is empty; send a JSON object, a list of them, or NDJSON";
        return Err(BodyError::new(Code::MalformedBody, detail).into());
    }
    match body_format(content_type, text)? {
        BodyFormat::Ndjson => parse_batch(lines(text).map(BatchElement::Message), 0, check),
        BodyFormat::Json => match text.strip_prefix(b"[") {
            Some(list) => parse_batch(elements(list), 1, check),
            None => check(None, parse_message(text, 0)?).map(PublishBody::One),
        },
    }
}

enum BodyFormat {
    Json,
    Ndjson,
}

fn body_format(content_type: Option<&str>, text: &[u8]) -> Result<BodyFormat, BodyError> {
    let content_type = content_type.map(str::trim).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts.filter_map(|part| part.split_once('=')).find_map(|(name, value)| {
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    if let Some(charset) = charset.filter(|charset| !matches!(&**charset, "utf-8" | "utf8" | "us-ascii")) {
        let detail = format!("charset {} is not supported; send UTF-8", quoted(&charset));
        return Err(BodyError::new(Code::UnsupportedMediaType, detail));
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
                "content type {} is not supported; send the header Content-Type: application/json, or application/x-ndjson",
                quoted(content_type)
            );
            Err(BodyError::new(Code::UnsupportedMediaType, detail))
        }
    }
}

/// Returns whether the line's brackets close by its end.
fn is_whole_object(line: &[u8]) -> bool {
    // Without the outermost `{`, its `}` ends a value from outside.
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
    elements: impl Iterator<Item = BatchElement<'a>>,
    depth_outside: usize,
    check: &mut dyn FnMut(Option<usize>, PublishMessage) -> Result<Message, Error>,
) -> Result<PublishBody<Message>, Error> {
    let mut messages = Vec::new();
    let mut idempotency_keys = HashSet::new();
    let malformed = |detail: &str| Error::from(BodyError::new(Code::MalformedBody, detail));
    for (index, element) in elements.enumerate() {
        let text = match element {
            BatchElement::Message(text) => text,
            BatchElement::Unclosed => return Err(malformed("list in the body has no \"]\"")),
            BatchElement::Trailing => {
                let detail = "body continues after its list; send one list, or NDJSON with one object a line";
                return Err(malformed(detail));
            }
        };
        if index == BATCH_MESSAGES_MAX {
            let detail =
                format!("batch has more than {BATCH_MESSAGES_MAX} messages; send the rest in another");
            return Err(BodyError::new(Code::BatchTooLarge, detail).at(index).into());
        }
        let message = parse_message(text, depth_outside).map_err(|error| error.at(index))?;
        if let Some(key) = &message.idempotency_key
            && !idempotency_keys.insert(key.clone())
        {
            let detail = format!(
                "idempotency key {} is repeated in the batch; give each message its own",
                quoted(key)
            );
            return Err(BodyError::new(Code::DuplicateIdempotencyKey, detail).at(index).into());
        }
        messages.push(check(Some(index), message)?);
    }
    if messages.is_empty() {
        return Err(malformed("batch has no messages; send at least one"));
    }
    Ok(PublishBody::Batch(messages))
}

#[cfg(test)]
mod tests;
