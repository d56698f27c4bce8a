//! Encodes fields: name, colon, one space, value, LF. An empty value has no space.

use std::time::Duration;

use crate::id::EventId;

/// Appends an event's name, if it has one, and its data, one field per line.
///
/// CR, LF and CRLF end a line of `data`; empty data is one empty line. It writes neither the id nor the blank line that
/// ends the event, because connections may get the same lines with different ids. [`EventName`](crate::EventName) checks
/// a name; this function writes spaces in place of CR, LF and NUL, so that no text can add a field.
pub fn write_event_lines(out: &mut Vec<u8>, event: Option<&str>, data: &str) {
    out.reserve(data.len() + event.map_or(0, str::len) + 24);
    if let Some(name) = event {
        if memchr::memchr3(b'\r', b'\n', 0, name.as_bytes()).is_some() {
            write_field(out, "event", name.replace(['\r', '\n', '\0'], " ").as_bytes());
        } else {
            write_field(out, "event", name.as_bytes());
        }
    }
    for_each_line(data, |line| write_field(out, "data", line));
}

/// Appends an `id:` line.
pub fn write_id_line(out: &mut Vec<u8>, id: &EventId) {
    out.extend_from_slice(b"id: ");
    id.write(out);
    out.push(b'\n');
}

/// Appends a `retry:` line, in whole milliseconds.
pub fn write_retry(out: &mut Vec<u8>, delay: Duration) {
    out.extend_from_slice(format!("retry: {}\n", delay.as_millis()).as_bytes());
}

/// Appends a comment, one comment line per line of text.
pub fn write_comment(out: &mut Vec<u8>, text: &str) {
    for_each_line(text, |line| write_field(out, "", line));
}

/// Appends the blank line that ends an event.
pub fn write_end(out: &mut Vec<u8>) {
    out.push(b'\n');
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    if !value.is_empty() {
        out.push(b' ');
        out.extend_from_slice(value);
    }
    out.push(b'\n');
}

/// Calls `with` for each line of the text, without its end. A text that ends in a line end has an empty last line.
fn for_each_line(text: &str, mut with: impl FnMut(&[u8])) {
    let mut rest = text.as_bytes();
    while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
        with(&rest[..end]);
        let end_bytes = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + end_bytes..];
    }
    with(rest);
}
