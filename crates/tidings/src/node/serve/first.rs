//! The first request of a connection of plain HTTP: read here, so that a socket whose client asks for a stream can be
//! given to a shard, and whatever else it is goes on to hyper with the bytes that came.

use std::io;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Request, Version, header};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use crate::transport::head::Judge;

/// A head that is larger is hyper's, which says so where it is too large.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 100;
/// What most heads fit.
const HEAD_BYTES: usize = 1024;
/// Headers that say that there is more to a request than its head.
const MORE: [HeaderName; 4] = [header::TRANSFER_ENCODING, header::EXPECT, header::UPGRADE, header::TE];

/// What came first.
pub(super) enum First {
    /// A request that may be for a stream, and its bytes. Nothing came behind it.
    Request(Box<Request<Body>>, Bytes),
    /// Anything else, as far as it was read.
    Other(Bytes),
}

/// Reads until it is known what comes. What is wrong, or late, is left to hyper to say. Cancel safe: what was read stays in
/// `read`.
pub(super) async fn read(stream: &TcpStream, read: &mut BytesMut, deadline: Instant) -> First {
    let mut judge = Judge::new();
    loop {
        let judged = read.len();
        let outcome = timeout_at(deadline, more(stream, read)).await;
        let has_more = matches!(outcome, Ok(Ok(count)) if count > 0);
        let is_good = has_more && judge.feed(&read[judged..]).is_ok();
        if !is_good || !b"GET ".starts_with(&read[..read.len().min(4)]) || read.len() > HEAD_BYTES_MAX {
            return First::Other(read.split().freeze());
        }
        if !judge.is_opening() {
            let bytes = read.split().freeze();
            return match parse(&bytes) {
                Some(request) => First::Request(Box::new(request), bytes),
                None => First::Other(bytes),
            };
        }
    }
}

async fn more(stream: &TcpStream, read: &mut BytesMut) -> io::Result<usize> {
    loop {
        // The buffer is made when there is something to put into it: clients may open connections and wait.
        stream.readable().await?;
        read.reserve(HEAD_BYTES);
        match stream.try_read_buf(read) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
    }
}

/// The request, where it is a plain GET of HTTP/1.1 and all that was read.
fn parse(bytes: &[u8]) -> Option<Request<Body>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(bytes).ok()? else { return None };
    if length != bytes.len() || parsed.method != Some("GET") || parsed.version != Some(1) {
        return None;
    }
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::GET;
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = parsed.path?.parse().ok()?;
    for field in parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(field.value).ok()?;
        let is_plain = match name {
            header::CONNECTION => value.as_bytes().eq_ignore_ascii_case(b"keep-alive"),
            header::CONTENT_LENGTH => value == "0",
            _ => !MORE.contains(&name),
        };
        if !is_plain {
            return None;
        }
        request.headers_mut().append(name, value);
    }
    Some(request)
}
