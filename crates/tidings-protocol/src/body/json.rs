//! JSON text, in the spelling of its publisher.

use serde::{Deserialize, de::Error as _};

use super::split::{is_blank, string_end};

/// Returns the kind of a JSON value, with its article.
pub(super) fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ => "no JSON value",
    }
}

/// Parses a JSON object. Unlike serde, it does not accept a list in place of a struct.
///
/// # Errors
/// Any text that is no JSON object of this shape.
pub fn parse_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> serde_json::Result<T> {
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(serde_json::Error::custom("it is no object"));
    }
    serde_json::from_slice(json)
}

/// Parses valid JSON; `None` if it is of another type, or if a string has a lone surrogate.
pub(super) fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    serde_json::from_str(json).ok()
}

/// Removes blanks between the tokens of valid JSON. Numbers, strings and the order of members stay.
///
/// Returns `None` if a string has a lone surrogate, which no UTF-8 text can hold.
pub(super) fn compact(json: &str) -> Option<String> {
    let bytes = json.as_bytes();
    let mut compacted = String::with_capacity(json.len());
    let (mut kept, mut at) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        if *byte == b'"' {
            let end = string_end(bytes, at + 1);
            if has_lone_surrogate(&bytes[at..end]) {
                return None;
            }
            at = end;
        } else if is_blank(*byte) {
            compacted.push_str(&json[kept..at]);
            at += 1;
            kept = at;
        } else {
            at += 1;
        }
    }
    compacted.push_str(&json[kept..]);
    Some(compacted)
}

/// Returns whether a valid JSON string escapes half of a surrogate pair.
fn has_lone_surrogate(mut string: &[u8]) -> bool {
    while let Some(found) = memchr::memchr(b'\\', string) {
        string = &string[found..];
        let units = [escaped_unit(string), escaped_unit(string.get(6..).unwrap_or_default())];
        string = match units {
            [Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)] => &string[12..],
            [Some(0xd800..=0xdfff), _] => return true,
            _ => &string[2..],
        };
    }
    false
}

/// Parses the `\uXXXX` at the start of the text.
fn escaped_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests;
