//! Opens a stream and shapes its response.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tidings_protocol::Subscription;

use crate::auth::{Identity, ReadKind};
use crate::connection::{ConnectionId, StreamOptions};
use crate::error::Error;
use crate::http::error::ErrorResponse;
use crate::http::parameters::Query;
use crate::http::peer::Peer;
use crate::hub::Hub;
use crate::transport::event_stream::EventBody;
use crate::transport::shard::StreamHandoff;

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const NO_TRANSFORM: HeaderValue = HeaderValue::from_static("no-cache, no-transform");

/// The channels that a request names, or else those of its ticket; none where it has neither.
pub(super) async fn named_or_of_ticket(
    hub: &Hub,
    identity: &Identity,
    query: &Query,
    named: Vec<Subscription>,
    only_looks: bool,
) -> Result<Option<Vec<Subscription>>, Error> {
    if named.is_empty() {
        return hub.authorizer().ticket_channels(identity, query.one("ticket")?, only_looks).await;
    }
    Ok(Some(named))
}

/// Opens a stream if the identity may read all of `subscriptions`. The options are read once it may.
pub(super) async fn stream(
    hub: &Hub,
    identity: &Arc<Identity>,
    subscriptions: Vec<Subscription>,
    options: impl FnOnce() -> Result<StreamOptions, Error>,
    peer: Peer,
) -> Result<Response, ErrorResponse> {
    let permit = hub.authorizer().subscribe(identity, subscriptions, ReadKind::Stream).await?;
    if !hub.settings().stream.enabled {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let options = options()?;
    if peer.is_head {
        return Ok(response(Body::empty()));
    }
    let opened = hub.open(&permit, &options, peer.address, peer.is_direct)?;
    if !peer.is_direct {
        return Ok(hub.stream(opened, peer.backpressure).into_response());
    }
    let id = opened.connection.handle().id();
    let handoff = StreamHandoff::new(opened);
    let mut response = with_connection_id(response(Body::new(handoff.clone())), id);
    response.extensions_mut().insert(handoff);
    Ok(response)
}

impl IntoResponse for EventBody {
    fn into_response(self) -> Response {
        let id = self.connection_id();
        with_connection_id(response(Body::new(self)), id)
    }
}

/// Tells the client the id of its connection.
fn with_connection_id(mut response: Response, id: ConnectionId) -> Response {
    let id = HeaderValue::try_from(id.to_string()).expect("hexadecimal digits");
    response.headers_mut().insert("tidings-connection", id);
    response
}

pub(super) fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, EVENT_STREAM);
    headers.insert(header::CACHE_CONTROL, NO_TRANSFORM);
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
