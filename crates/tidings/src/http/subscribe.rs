//! `GET /api/v1/events…` and `POST /api/v1/stream`: streams.

mod posted;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use tidings_protocol::{EventId, Subscription};

pub(super) use self::posted::posted;
use super::{
    credentials::Authenticated,
    error::ErrorResponse,
    parameters::{self, Query},
    peer::Peer,
};
use crate::{
    auth::{Identity, ReadKind, SubscribePermit},
    connection::{ConnectionId, PositionStyle, Start, StreamOptions},
    error::{Code, Error},
    hub::Hub,
    transport::{
        event_stream::EventBody,
        shard::{DetachedBody, StreamHandoff},
    },
};

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const NO_TRANSFORM: HeaderValue = HeaderValue::from_static("no-cache, no-transform");
const TEST_EVENT: &str = "data: {\"type\":\"test\",\"message\":\"SSE endpoint working\"}\n\n";

/// Subscribes to the channel or pattern in the path.
pub(super) async fn one(
    State(hub): State<Hub>,
    admitted: Authenticated,
    uri: Uri,
    headers: HeaderMap,
    remote: Peer,
) -> Result<Response, ErrorResponse> {
    let path = uri.path().strip_prefix("/api/v1/events/").unwrap_or_default();
    let subscription = parameters::subscription(&parameters::decoded(path)?)?;
    let permit = permit(&hub, &admitted.for_stream()?, vec![subscription]).await?;
    if hub.settings().test_mode {
        return Ok(response(Body::from(TEST_EVENT)));
    }
    stream(&hub, &permit, || options(&Query::of(&uri), &headers), remote)
}

/// Subscribes to every `channel` of the query.
pub(super) async fn several(
    State(hub): State<Hub>,
    admitted: Authenticated,
    uri: Uri,
    headers: HeaderMap,
    remote: Peer,
) -> Result<Response, ErrorResponse> {
    let query = Query::of(&uri);
    let named = parameters::subscriptions(query.all("channel"))?;
    let identity = admitted.for_stream()?;
    let Some(subscriptions) = named_or_of_ticket(&hub, &identity, &query, named, remote.is_head).await?
    else {
        let detail = "no channel is asked for; name one or more, as in /api/v1/events?channel=a&channel=b.*, or show a ticket";
        return Err(Error::new(Code::BadQuery, detail).into());
    };
    let permit = permit(&hub, &identity, subscriptions).await?;
    stream(&hub, &permit, || options(&query, &headers), remote)
}

/// The channels that a request names, or else those of its ticket; none where it has neither.
async fn named_or_of_ticket(
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

async fn permit(
    hub: &Hub,
    identity: &Arc<Identity>,
    subscriptions: Vec<Subscription>,
) -> Result<SubscribePermit, Error> {
    hub.authorizer().subscribe(identity, subscriptions, ReadKind::Stream).await
}

fn stream(
    hub: &Hub,
    permit: &SubscribePermit,
    options: impl FnOnce() -> Result<StreamOptions, Error>,
    remote: Peer,
) -> Result<Response, ErrorResponse> {
    if !hub.settings().stream.enabled {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let options = options()?;
    if remote.is_head {
        return Ok(response(Body::empty()));
    }
    let opened = hub.open(permit, &options, remote.place, remote.is_direct)?;
    if !remote.is_direct {
        return Ok(hub.stream(opened, remote.pressure).into_response());
    }
    let mut response = with_connection_id(response(Body::new(DetachedBody)), opened.connection.handle().id());
    response.extensions_mut().insert(StreamHandoff::new(opened));
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

fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, EVENT_STREAM);
    headers.insert(header::CACHE_CONTROL, NO_TRANSFORM);
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Options of a `GET` beside its channels. The header wins over the query.
fn options(query: &Query, headers: &HeaderMap) -> Result<StreamOptions, Error> {
    let spellings = ["lastEventId", "last_event_id", "Last-Event-ID"];
    let of_query = || spellings.into_iter().flat_map(|name| query.all(name)).find(|id| !id.is_empty());
    let id = last_event_id(headers)?.or_else(|| of_query().map(str::to_owned));
    Ok(StreamOptions {
        start: start(id, query.one("history")?.map(history).transpose()?),
        positions: positions(query, headers)?,
        open_event: flag(query, "hello")?,
    })
}

/// An id wins over `history`.
fn start(id: Option<String>, history: Option<Start>) -> Start {
    match id {
        None => history.unwrap_or(Start::Now),
        // An id that cannot be read says nothing; `history` still does.
        Some(id) if id.parse::<EventId>().is_err() => match history {
            Some(Start::History(events)) => Start::HistoryAfterMalformed(events),
            Some(_) => Start::HistoryAfterMalformed(u64::MAX),
            None => Start::After(id),
        },
        Some(id) => Start::After(id),
    }
}

/// The value of the header `Last-Event-ID`; an empty one is none.
fn last_event_id(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut values = headers.get_all("last-event-id").iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Error::new(Code::BadHeader, "two Last-Event-ID headers; send one"));
    }
    let id = first.filter(|id| !id.is_empty());
    Ok(id.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned()))
}

fn history(text: &str) -> Result<Start, Error> {
    if text == "all" {
        return Ok(Start::WholeHistory);
    }
    parameters::whole_number(text).map(Start::History).ok_or_else(|| {
        let detail = format!("history {text:?} is neither a whole number of events nor `all`");
        Error::new(Code::BadQuery, detail)
    })
}

fn flag(query: &Query, name: &str) -> Result<bool, Error> {
    match query.one(name)? {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            Err(Error::new(Code::BadQuery, format!("{name} {other:?} is neither `true` nor `false`")))
        }
    }
}

/// How positions go to this client. Without a wish only a browser's own `EventSource` gets any: a program that parses each
/// message must not meet an empty one.
fn positions(query: &Query, headers: &HeaderMap) -> Result<PositionStyle, Error> {
    match query.one("position")? {
        Some(text) => position(text),
        None if is_event_source(headers) => Ok(PositionStyle::Event),
        None => Ok(PositionStyle::None),
    }
}

fn position(text: &str) -> Result<PositionStyle, Error> {
    match text {
        "event" => Ok(PositionStyle::Event),
        "id" => Ok(PositionStyle::Id),
        "none" => Ok(PositionStyle::None),
        other => {
            Err(Error::new(Code::BadQuery, format!("position {other:?} is none of `event`, `id` and `none`")))
        }
    }
}

/// Chromium, Firefox and WebKit open an `EventSource` with these three headers.
fn is_event_source(headers: &HeaderMap) -> bool {
    let is = |name: header::HeaderName, wanted: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().is_some_and(|value| value == wanted) && values.next().is_none()
    };
    let agent = headers.get(header::USER_AGENT);
    is(header::ACCEPT, "text/event-stream")
        && is(header::PRAGMA, "no-cache")
        && agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/5.0"))
}
