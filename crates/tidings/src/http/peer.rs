//! The peer of a request: its address for limits, and how a stream reaches it.

use std::{convert::Infallible, sync::Arc};

use axum::extract::FromRequestParts;
use http::{Method, request::Parts};

use crate::hub::Hub;
use crate::limits::ClientAddress;
use crate::transport::shard::StreamHandoff;
use crate::transport::socket::{Backpressure, PeerInfo};

/// The peer of a request. A request that another server accepted has no address and no socket here.
pub(super) struct Peer {
    /// Address for the limits per address.
    pub(super) address: Option<ClientAddress>,
    /// Back-pressure of its socket.
    pub(super) backpressure: Option<Arc<Backpressure>>,
    /// Whether a shard owns the socket.
    pub(super) is_direct: bool,
    /// The method is HEAD: the hub opens, counts and redeems nothing.
    pub(super) is_head: bool,
}

impl FromRequestParts<Hub> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Infallible> {
        let backpressure: Option<&Arc<Backpressure>> = parts.extensions.get();
        let forwarded = parts.headers.get_all("x-forwarded-for").iter();
        // A value that is no text ends the chain, as a value that is no address does.
        let forwarded = forwarded.map(|value| value.to_str().unwrap_or("?"));
        let arrival: Option<&PeerInfo> = parts.extensions.get();
        let client = arrival.map(|arrival| hub.trusted_proxies().client(arrival.peer.ip(), forwarded));
        let is_direct = StreamHandoff::is_offered(&parts.extensions);
        Ok(Self {
            address: client.map(ClientAddress::of),
            backpressure: backpressure.cloned(),
            is_direct,
            is_head: parts.method == Method::HEAD,
        })
    }
}
