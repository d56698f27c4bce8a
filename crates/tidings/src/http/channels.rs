//! `GET /api/v1/channels…`: channels with connections, and the stored events of a channel.

use axum::{Json, extract::State};
use http::Uri;
use tidings_log::HistoryRange;
use tidings_protocol::body::{ChannelCount, ChannelList, HistoryPage};
use tidings_protocol::{EventId, Subscription};

use super::credentials::Authenticated;
use super::error::ErrorResponse;
use super::fallback::not_found;
use super::parameters::{self, Query};
use crate::auth::ReadKind;
use crate::connection::Start;
use crate::error::{Code, Error};
use crate::hub::{HistoryRequest, Hub};

/// Lists channels and patterns with connections.
pub(super) async fn list(
    State(hub): State<Hub>,
    authenticated: Authenticated,
) -> Result<Json<ChannelList>, ErrorResponse> {
    let channels = hub.channels_of(&*authenticated.for_reading()?).into_iter();
    let channels = channels.map(|(channel, connections)| ChannelCount { channel, connections });
    Ok(Json(ChannelList { channels: channels.collect() }))
}

/// Reads stored events of one channel.
pub(super) async fn history(
    State(hub): State<Hub>,
    authenticated: Authenticated,
    uri: Uri,
) -> Result<Json<HistoryPage>, ErrorResponse> {
    let identity = authenticated.for_reading()?;
    let path = uri.path().strip_prefix("/api/v1/channels/").unwrap_or_default();
    let Some(name) = path.strip_suffix("/events") else { return Err(not_found(uri).await) };
    let channel = parameters::channel(&parameters::decoded(name)?)?;
    let query = Query::of(&uri);
    query.only(&["after", "until", "last", "limit"])?;
    let wanted = wanted(&query)?;
    let permit = hub
        .authorizer()
        .subscribe(&identity, vec![Subscription::Channel(channel)], ReadKind::History)
        .await?;
    Ok(Json(hub.history_permitted(&permit, wanted).await?))
}

fn wanted(query: &Query) -> Result<HistoryRange, Error> {
    let (last, limit) = (number(query, "last")?, number(query, "limit")?);
    if last.is_some() && limit.is_some() {
        let detail = "`last` and `limit` stand side by side; `last` says how many events by itself";
        return Err(Error::new(Code::BadQuery, detail));
    }
    let until = query.one("until")?.map(|text| {
        let unreadable = |_| {
            let detail = "`until` is no id; it is an event's `id`, or a position of a stream, as it was sent";
            Error::new(Code::BadQuery, detail)
        };
        text.parse::<EventId>().map_err(unreadable)
    });
    Ok(HistoryRange {
        start: query.one("after")?.map_or(Start::WholeHistory, |after| Start::After(after.to_owned())),
        until: until.transpose()?,
        limit: last.or(limit).unwrap_or(HistoryRequest::LIMIT_DEFAULT),
        is_newest: last.is_some(),
    })
}

/// Reads a count of events.
fn number(query: &Query, name: &str) -> Result<Option<usize>, Error> {
    let Some(text) = query.one(name)? else { return Ok(None) };
    let number =
        parameters::whole_number(text).filter(|number| (1..=HistoryRequest::LIMIT_MAX).contains(number));
    number.map(Some).ok_or_else(|| {
        let bound = HistoryRequest::LIMIT_MAX;
        Error::new(Code::BadQuery, format!("{name} {text:?} is not a whole number from 1 to {bound}"))
    })
}
