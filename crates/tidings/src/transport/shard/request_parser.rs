//! A request that a shard answers itself: a small one of the streams' and the publishers' routes, whole and plain.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};

/// A request that is larger is hyper's, which says so where it is too large.
pub(super) const REQUEST_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// Headers that say that there is more to a request than its head and so many bytes.
const MORE: [HeaderName; 4] = [header::TRANSFER_ENCODING, header::EXPECT, header::UPGRADE, header::TE];
/// What the paths of the routes have in them, wherever an embedding service has put them. Other routes may take their time.
const PATHS: [&str; 3] = ["/api/v1/events", "/api/v1/publish", "/api/v1/stream"];

/// Whether the first bytes of a request may be those of one for a shard.
pub(super) fn may_be_ours(bytes: &[u8]) -> bool {
    [&b"GET "[..], b"POST "].iter().any(|method| {
        let length = bytes.len().min(method.len());
        method[..length] == bytes[..length]
    })
}

/// The request that these bytes are, where a shard answers it: a GET or a POST of HTTP/1.1, with nothing behind it.
pub(super) fn parse(bytes: &Bytes) -> Option<Request<Body>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = parsed.parse(bytes).ok()? else { return None };
    let path = parsed.path?;
    if parsed.version != Some(1) || !PATHS.iter().any(|ours| path.contains(ours)) {
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
            _ => !MORE.contains(&name),
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
