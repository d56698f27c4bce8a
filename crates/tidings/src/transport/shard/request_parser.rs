//! Parses the requests that a shard passes to the routes: small, complete requests to publish or to open a stream.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};

/// Bound of a request of a shard. hyper serves larger ones, and refuses those above its own bound.
pub(super) const REQUEST_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// Headers of requests that are more than a head and a body of known length.
const HYPER_HEADERS: [HeaderName; 4] =
    [header::TRANSFER_ENCODING, header::EXPECT, header::UPGRADE, header::TE];
/// Parts of the routes' paths; the host application may put a prefix before them. Other routes may block the thread.
const PATHS: [&str; 3] = ["/api/v1/events", "/api/v1/publish", "/api/v1/stream"];

/// Whether a request that begins with these bytes may be one for a shard.
pub(super) fn may_be_for_shard(bytes: &[u8]) -> bool {
    [&b"GET "[..], b"POST "].iter().any(|method| {
        let length = bytes.len().min(method.len());
        method[..length] == bytes[..length]
    })
}

/// Parses a request; `None` unless it is a GET or a POST of HTTP/1.1 for a shard, with no bytes after it.
pub(super) fn parse(bytes: &Bytes) -> Option<Request<Body>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = parsed.parse(bytes).ok()? else { return None };
    let path = parsed.path?;
    if parsed.version != Some(1) || !PATHS.iter().any(|part| path.contains(part)) {
        return None;
    }
    let mut request = Request::new(Body::empty());
    *request.method_mut() = match parsed.method? {
        "GET" => Method::GET,
        "POST" => Method::POST,
        _ => return None,
    };
    *request.uri_mut() = Uri::from_maybe_shared(bytes.slice_ref(path.as_bytes())).ok()?;
    let mut body_bytes = 0;
    request.headers_mut().reserve(parsed.headers.len());
    for field in parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value)).ok()?;
        let is_plain = match name {
            header::CONNECTION => value.as_bytes().eq_ignore_ascii_case(b"keep-alive"),
            header::CONTENT_LENGTH => {
                body_bytes = value.to_str().ok()?.parse().ok()?;
                true
            }
            _ => !HYPER_HEADERS.contains(&name),
        };
        if !is_plain {
            return None;
        }
        request.headers_mut().append(name, value);
    }
    let body = bytes.slice(head_bytes..);
    if body.len() != body_bytes || (body_bytes > 0 && request.method() == Method::GET) {
        return None;
    }
    if body_bytes > 0 {
        *request.body_mut() = Body::from(body);
    }
    Some(request)
}
