//! `GET /api/v1/channels…`: which channels have connections, and what a channel holds.

use axum::{Json, extract::State};
use http::Uri;
use tidings_protocol::{
    Subscription,
    body::{ChannelCount, ChannelList, HistoryPage},
};

use super::{
    credentials::Admitted,
    error::Refusal,
    nothing,
    parameters::{self, Query},
};
use crate::{
    auth::Reading,
    error::{Code, Error},
    hub::Hub,
};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Lists channels and patterns with connections.
pub(super) async fn list(State(hub): State<Hub>, admitted: Admitted) -> Result<Json<ChannelList>, Refusal> {
    let channels = hub.channels_of(&*admitted.for_reading()?).into_iter();
    let channels = channels.map(|(channel, connections)| ChannelCount { channel, connections });
    Ok(Json(ChannelList { channels: channels.collect() }))
}

/// Reads stored events of one channel.
pub(super) async fn history(
    State(hub): State<Hub>,
    admitted: Admitted,
    uri: Uri,
) -> Result<Json<HistoryPage>, Refusal> {
    let caller = admitted.for_reading()?;
    let path = uri.path().strip_prefix("/api/v1/channels/").unwrap_or_default();
    let Some(name) = path.strip_suffix("/events") else { return Err(nothing(uri).await) };
    let channel = parameters::channel(&parameters::decoded(name)?)?;
    let query = Query::of(&uri);
    query.only(&["after", "limit"])?;
    let limit = match query.one("limit")? {
        None => LIMIT_DEFAULT,
        Some(text) => text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or_else(|| {
            Error::new(Code::BadQuery, format!("limit {text:?} is not a whole number from 1 to {LIMIT_MAX}"))
        })?,
    };
    let permit =
        hub.gate().subscribe(&caller, vec![Subscription::Channel(channel)], Reading::History).await?;
    Ok(Json(hub.history(&permit, query.one("after")?.map(str::to_owned), limit).await?))
}
