//! What became of a request, and how it leaves.

use std::convert::Infallible;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{StatusCode, header, response::Parts};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::{
    StreamHandoff,
    response_head::{Framing, write_head},
};
use crate::connection::NewConnection;

/// A body that is larger is written by hyper.
const BODY_BYTES_MAX: u64 = 64 << 10;

/// The answer to one request.
pub(super) enum RoutedResponse {
    /// A stream begins, with this head.
    Stream(Bytes, Box<NewConnection>),
    /// Head and body are at hand.
    Whole(Box<Parts>, Bytes),
    /// It is not one that a shard can write.
    Other(Box<Response>),
}

/// Waits for the answer of a route.
pub(super) async fn route(routing: impl Future<Output = Result<Response, Infallible>>) -> RoutedResponse {
    let Ok(mut response) = routing.await;
    let handover: Option<StreamHandoff> = response.extensions_mut().remove();
    if let Some(opened) = handover.and_then(|handover| handover.take()) {
        // A layer around the routes may have meant to encode a body that goes another way.
        response.headers_mut().remove(header::CONTENT_ENCODING);
        return RoutedResponse::Stream(
            write_head(response.status(), response.headers(), Framing::Chunked),
            Box::new(opened),
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

/// Whether head and body are written here as hyper would write them.
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
