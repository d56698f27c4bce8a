//! `GET /api/v1/events…`: streams.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use tidings_protocol::{EventId, Subscription};

use super::{
    credentials::Admitted,
    error::Refusal,
    parameters::{self, Query},
    remote::Remote,
};
use crate::{
    auth::{Reading, SubscribePermit},
    connection::{PositionStyle, Start, StreamOptions},
    error::{Code, Error},
    hub::Hub,
    transport::direct::{Elsewhere, Handover},
};

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_TRANSFORM: HeaderValue = HeaderValue::from_static("no-cache, no-transform");
const TEST_EVENT: &str = "data: {\"type\":\"test\",\"message\":\"SSE endpoint working\"}\n\n";

/// Subscribes to the channel or pattern in the path.
pub(super) async fn one(
    State(hub): State<Hub>,
    admitted: Admitted,
    uri: Uri,
    headers: HeaderMap,
    remote: Remote,
) -> Result<Response, Refusal> {
    let path = uri.path().strip_prefix("/api/v1/events/").unwrap_or_default();
    let subscription = parameters::subscription(&parameters::decoded(path)?)?;
    let permit = permit(&hub, admitted, vec![subscription]).await?;
    if hub.settings().test_mode {
        return Ok(response(Body::from(TEST_EVENT)));
    }
    stream(&hub, &permit, &uri, &headers, remote)
}

/// Subscribes to every `channel` of the query.
pub(super) async fn several(
    State(hub): State<Hub>,
    admitted: Admitted,
    uri: Uri,
    headers: HeaderMap,
    remote: Remote,
) -> Result<Response, Refusal> {
    let query = Query::of(&uri);
    let subscriptions = query.all("channel").map(parameters::subscription).collect::<Result<Vec<_>, _>>()?;
    if subscriptions.is_empty() {
        let detail = "no channel is asked for; name one or more, as in /api/v1/events?channel=a&channel=b.*";
        return Err(Error::new(Code::BadQuery, detail).into());
    }
    let permit = permit(&hub, admitted, subscriptions).await?;
    stream(&hub, &permit, &uri, &headers, remote)
}

async fn permit(
    hub: &Hub,
    admitted: Admitted,
    subscriptions: Vec<Subscription>,
) -> Result<SubscribePermit, Error> {
    hub.gate().subscribe(&admitted.for_stream()?, subscriptions, Reading::Stream).await
}

fn stream(
    hub: &Hub,
    permit: &SubscribePermit,
    uri: &Uri,
    headers: &HeaderMap,
    remote: Remote,
) -> Result<Response, Refusal> {
    if !hub.settings().stream.enabled {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let query = Query::of(uri);
    let options = StreamOptions {
        start: start(&query, headers)?,
        positions: positions(&query, headers)?,
        hello: flag(&query, "hello")?,
    };
    let opened = hub.open(permit, &options, remote.place, remote.is_direct)?;
    let id = opened.connection.seat().id().to_string();
    let mut response = if remote.is_direct {
        let mut response = response(Body::new(Elsewhere));
        response.extensions_mut().insert(Handover::new(opened));
        response
    } else {
        response(Body::new(hub.stream(opened, remote.pressure)))
    };
    response
        .headers_mut()
        .insert("tidings-connection", HeaderValue::try_from(id).expect("hexadecimal digits"));
    Ok(response)
}

fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, EVENT_STREAM);
    headers.insert(header::CACHE_CONTROL, NO_TRANSFORM);
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// An id wins over `history`; the header wins over the query; what is empty is none.
fn start(query: &Query, headers: &HeaderMap) -> Result<Start, Error> {
    let history = history(query)?;
    match last_event_id(query, headers)? {
        None => Ok(history.unwrap_or(Start::Now)),
        // An id that cannot be read says nothing; `history` still does.
        Some(id) if id.parse::<EventId>().is_err() => Ok(match history {
            Some(Start::History(events)) => Start::HistoryAfterMalformed(events),
            Some(_) => Start::HistoryAfterMalformed(u64::MAX),
            None => Start::After(id),
        }),
        Some(id) => Ok(Start::After(id)),
    }
}

fn last_event_id(query: &Query, headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut values = headers.get_all("last-event-id").iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Error::new(Code::BadHeader, "two Last-Event-ID headers; send one"));
    }
    if let Some(id) = first.filter(|id| !id.is_empty()) {
        return Ok(Some(String::from_utf8_lossy(id.as_bytes()).into_owned()));
    }
    let spellings = ["lastEventId", "last_event_id", "Last-Event-ID"];
    Ok(spellings.into_iter().flat_map(|name| query.all(name)).find(|id| !id.is_empty()).map(str::to_owned))
}

fn history(query: &Query) -> Result<Option<Start>, Error> {
    match query.one("history")? {
        None => Ok(None),
        Some("all") => Ok(Some(Start::WholeHistory)),
        Some(text) => {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            let events = text.parse().ok().filter(|_| is_number);
            events.map(|events| Some(Start::History(events))).ok_or_else(|| {
                Error::new(
                    Code::BadQuery,
                    format!("history {text:?} is neither a whole number of events nor `all`"),
                )
            })
        }
    }
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

/// How positions go to this client: a browser's own `EventSource` keeps an id only from an event.
fn positions(query: &Query, headers: &HeaderMap) -> Result<PositionStyle, Error> {
    match query.one("position")? {
        Some("event") => Ok(PositionStyle::Event),
        Some("id") => Ok(PositionStyle::Block),
        Some("none") => Ok(PositionStyle::None),
        Some(other) => {
            Err(Error::new(Code::BadQuery, format!("position {other:?} is none of `event`, `id` and `none`")))
        }
        None if is_event_source(headers) => Ok(PositionStyle::Event),
        None => Ok(PositionStyle::Block),
    }
}

/// A page's plain `fetch` sends no `Pragma`, other programs no `Sec-Fetch-Mode`.
fn is_event_source(headers: &HeaderMap) -> bool {
    let is = |name: header::HeaderName, value: &str| headers.get(name).is_some_and(|it| it == value);
    let is_browser = headers.contains_key("sec-fetch-mode")
        || headers.get(header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/5.0"));
    is(header::ACCEPT, "text/event-stream") && is(header::PRAGMA, "no-cache") && is_browser
}
