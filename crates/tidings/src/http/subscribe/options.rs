//! Options of a stream beside its channels.

use http::{HeaderMap, header};
use tidings_protocol::EventId;

use crate::connection::{PositionStyle, Start, StreamOptions};
use crate::error::{Code, Error};
use crate::http::parameters::{self, Query};

/// Options of a `GET` beside its channels. The header wins over the query.
pub(super) fn options(query: &Query, headers: &HeaderMap) -> Result<StreamOptions, Error> {
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
pub(super) fn start(id: Option<String>, history: Option<Start>) -> Start {
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
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut values = headers.get_all("last-event-id").iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Error::new(Code::BadHeader, "two Last-Event-ID headers; send one"));
    }
    let id = first.filter(|id| !id.is_empty());
    Ok(id.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned()))
}

pub(super) fn history(text: &str) -> Result<Start, Error> {
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

pub(super) fn position(text: &str) -> Result<PositionStyle, Error> {
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
