//! `GET /api/v1/events…` and `POST /api/v1/stream`: streams.

mod options;
mod posted;
mod stream;

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, Uri};

use self::options::options;
pub(super) use self::posted::posted;
use self::stream::{named_or_of_ticket, response, stream};
use super::credentials::Authenticated;
use super::error::ErrorResponse;
use super::parameters::{self, Query};
use super::peer::Peer;
use crate::auth::ReadKind;
use crate::error::{Code, Error};
use crate::hub::Hub;

const TEST_EVENT: &str = "data: {\"type\":\"test\",\"message\":\"SSE endpoint working\"}\n\n";

/// Subscribes to the channel or pattern in the path.
pub(super) async fn one(
    State(hub): State<Hub>,
    authenticated: Authenticated,
    uri: Uri,
    headers: HeaderMap,
    peer: Peer,
) -> Result<Response, ErrorResponse> {
    let path = uri.path().strip_prefix("/api/v1/events/").unwrap_or_default();
    let subscription = parameters::subscription(&parameters::decoded(path)?)?;
    let identity = authenticated.for_stream()?;
    if hub.settings().test_mode {
        hub.authorizer().subscribe(&identity, vec![subscription], ReadKind::Stream).await?;
        return Ok(response(Body::from(TEST_EVENT)));
    }
    stream(&hub, &identity, vec![subscription], || options(&Query::of(&uri), &headers), peer).await
}

/// Subscribes to every `channel` of the query.
pub(super) async fn several(
    State(hub): State<Hub>,
    authenticated: Authenticated,
    uri: Uri,
    headers: HeaderMap,
    peer: Peer,
) -> Result<Response, ErrorResponse> {
    let query = Query::of(&uri);
    let named = parameters::subscriptions(query.all("channel"))?;
    let identity = authenticated.for_stream()?;
    let Some(subscriptions) = named_or_of_ticket(&hub, &identity, &query, named, peer.is_head).await? else {
        let detail = "no channel is asked for; name one or more, as in /api/v1/events?channel=a&channel=b.*, or show a ticket";
        return Err(Error::new(Code::BadQuery, detail).into());
    };
    stream(&hub, &identity, subscriptions, || options(&query, &headers), peer).await
}
