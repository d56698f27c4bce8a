//! The response to a request, in the form in which it leaves the shard: byte for byte as hyper writes it, except for the date.

use std::{convert::Infallible, time::SystemTime};

use axum::{body::Body, response::Response};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header, response::Parts};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::handoff::StreamHandoff;
use crate::connection::driver::NewConnection;

/// Bound of the body that a shard writes; hyper writes larger ones.
const BODY_BYTES_MAX: u64 = 64 << 10;

/// Capacity that most heads fit.
const HEAD_BYTES: usize = 384;

/// The response to one request.
pub(super) enum RoutedResponse {
    /// Head of a stream, and the stream.
    Stream(Bytes, Box<NewConnection>),
    /// Head and whole body.
    Whole(Box<Parts>, Bytes),
    /// A response that hyper has to write.
    Other(Box<Response>),
}

/// Waits for the response of a route.
pub(super) async fn route(routing: impl Future<Output = Result<Response, Infallible>>) -> RoutedResponse {
    let Ok(mut response) = routing.await;
    if let Some(stream) = StreamHandoff::take(response.extensions_mut()) {
        // A layer around the routes may encode bodies; the shard writes the stream as it is.
        response.headers_mut().remove(header::CONTENT_ENCODING);
        return RoutedResponse::Stream(
            write_head(response.status(), response.headers(), Framing::Chunked),
            Box::new(stream),
        );
    }
    if !is_plain(&response) {
        return RoutedResponse::Other(Box::new(response));
    }
    let (parts, body) = response.into_parts();
    match body.collect().await {
        Ok(collected) => RoutedResponse::Whole(Box::new(parts), collected.to_bytes()),
        Err(_) => RoutedResponse::Other(Box::new(Response::from_parts(parts, Body::empty()))),
    }
}

/// Whether the shard writes head and body as hyper would.
fn is_plain(response: &Response) -> bool {
    let status = response.status();
    let has_body =
        !status.is_informational() && ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    let is_framed = [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::DATE]
        .iter()
        .any(|name| response.headers().contains_key(name));
    let is_small = response.body().size_hint().exact().is_some_and(|bytes| bytes <= BODY_BYTES_MAX);
    has_body && !is_framed && is_small
}

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
