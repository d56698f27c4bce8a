//! The response to a request, in the form in which it leaves the shard.

use std::convert::Infallible;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{StatusCode, header, response::Parts};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::{
    handoff::StreamHandoff,
    response_head::{Framing, write_head},
};
use crate::connection::driver::NewConnection;

/// Bound of the body that a shard writes; hyper writes larger ones.
const BODY_BYTES_MAX: u64 = 64 << 10;

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
