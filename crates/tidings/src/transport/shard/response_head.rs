//! Heads of responses, byte for byte as hyper writes them, except for the date.

use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};

/// Capacity that most heads fit.
const HEAD_BYTES: usize = 384;

/// Framing of a response body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Framing<'a> {
    /// In chunks.
    Chunked,
    /// Of known length. `is_last` says that the connection ends with this response.
    Whole { body: &'a [u8], is_last: bool },
}

/// Returns the head of an HTTP/1.1 response, and the body if it is whole.
pub(super) fn write_head(status: StatusCode, headers: &HeaderMap, framing: Framing<'_>) -> Bytes {
    let body = if let Framing::Whole { body, .. } = framing { body } else { &[] };
    let mut head = BytesMut::with_capacity(HEAD_BYTES + body.len());
    head.put_slice(b"HTTP/1.1 ");
    head.put_slice(status.as_str().as_bytes());
    head.put_u8(b' ');
    head.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.put_slice(b"\r\n");
    for (name, value) in headers {
        put(&mut head, name.as_str(), value.as_bytes());
    }
    match framing {
        Framing::Chunked => put(&mut head, "transfer-encoding", b"chunked"),
        Framing::Whole { body, is_last } => {
            if !headers.contains_key(header::CONTENT_LENGTH) {
                put(&mut head, "content-length", body.len().to_string().as_bytes());
            }
            if is_last {
                put(&mut head, "connection", b"close");
            }
        }
    }
    put(&mut head, "date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    head.put_slice(b"\r\n");
    head.put_slice(body);
    head.freeze()
}

fn put(head: &mut BytesMut, name: &str, value: &[u8]) {
    head.put_slice(name.as_bytes());
    head.put_slice(b": ");
    head.put_slice(value);
    head.put_slice(b"\r\n");
}
