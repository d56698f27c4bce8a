//! JSON text kept as its sender spelt it.

use serde::{Deserialize, de::Error as _};

use super::split::{is_blank, string_end};

/// Returns what kind of value the text is, with its article.
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

/// Reads a JSON object. Serde reads a list as a struct, too; this does not.
///
/// # Errors
/// Where the text is no JSON, no object, or not of the shape.
pub fn parse_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> serde_json::Result<T> {
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(serde_json::Error::custom("it is no object"));
    }
    serde_json::from_slice(json)
}

/// Reads a JSON value whose text is valid; none where it is of another type, or a string has a lone surrogate.
pub(super) fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    serde_json::from_str(json).ok()
}

/// Removes the blanks between the tokens of valid JSON; numbers, strings and the order of members stay as they are.
///
/// Returns nothing where a string has a lone surrogate, which no UTF-8 text can hold.
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

/// Reads the `\uXXXX` that the text begins with.
fn escaped_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests;
