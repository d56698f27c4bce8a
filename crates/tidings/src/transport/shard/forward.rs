//! Connections that a shard forwards to hyper.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use axum::response::Response;
use bytes::Bytes;

/// A connection that hyper serves from now on.
pub(crate) struct ForwardedConnection {
    pub(crate) socket: TcpStream,
    pub(crate) peer: SocketAddr,
    /// Bytes that the shard read, which hyper parses again.
    pub(crate) read: Bytes,
    /// Response to the request in `read`, if the shard called the routes for it.
    pub(crate) response: Option<Response>,
    /// Deadline of the next request head.
    pub(crate) head_due: Instant,
}

/// Passes a connection to hyper.
pub(crate) type ForwardToHyper = Arc<dyn Fn(ForwardedConnection) + Send + Sync>;
