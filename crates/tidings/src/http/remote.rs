//! The other end of a request: its socket's pressure, and the place that it counts for.

use std::{convert::Infallible, sync::Arc};

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::{
    hub::{Hub, Remote},
    limits::Place,
    transport::socket::{Arrival, Pressure},
};

/// Extracts a [`Remote`]. Served by other means than the hub's own, a request has none.
pub(super) struct From(pub(super) Remote);

impl FromRequestParts<Hub> for From {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Infallible> {
        let pressure: Option<&Arc<Pressure>> = parts.extensions.get();
        let forwarded = parts.headers.get_all("x-forwarded-for").iter();
        // What is no text ends the chain, as what is no address does.
        let forwarded = forwarded.map(|value| value.to_str().unwrap_or("?"));
        let arrival: Option<&Arrival> = parts.extensions.get();
        let client = arrival.map(|arrival| hub.trusted_proxies().client(arrival.peer.ip(), forwarded));
        Ok(Self(Remote { pressure: pressure.cloned(), place: client.map(Place::of) }))
    }
}
