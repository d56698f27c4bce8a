//! The other end of a request: the place that it counts for, and the ways to send it a stream.

use std::{convert::Infallible, sync::Arc};

use axum::extract::FromRequestParts;
use http::{Method, request::Parts};

use crate::{
    hub::Hub,
    limits::ClientAddress,
    transport::{
        shard::ShardOffer,
        socket::{Backpressure, PeerInfo},
    },
};

/// The other end, as far as it is known. Served by other means than the hub's own, a request has none.
pub(super) struct Peer {
    /// What it counts for among the streams of an address.
    pub(super) place: Option<ClientAddress>,
    /// Of the socket that it came by.
    pub(super) pressure: Option<Arc<Backpressure>>,
    /// Whether a shard may have the socket.
    pub(super) is_direct: bool,
    /// It asks for the head alone: nothing is opened, counted or spent.
    pub(super) is_head: bool,
}

impl FromRequestParts<Hub> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Infallible> {
        let pressure: Option<&Arc<Backpressure>> = parts.extensions.get();
        let forwarded = parts.headers.get_all("x-forwarded-for").iter();
        // What is no text ends the chain, as what is no address does.
        let forwarded = forwarded.map(|value| value.to_str().unwrap_or("?"));
        let arrival: Option<&PeerInfo> = parts.extensions.get();
        let client = arrival.map(|arrival| hub.trusted_proxies().client(arrival.peer.ip(), forwarded));
        let is_direct = parts.extensions.get::<ShardOffer>().is_some();
        Ok(Self {
            place: client.map(ClientAddress::of),
            pressure: pressure.cloned(),
            is_direct,
            is_head: parts.method == Method::HEAD,
        })
    }
}
