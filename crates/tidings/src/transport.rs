//! Transports: they move the bytes of connections between sockets, hyper and the host application.

pub(crate) mod event_stream;
pub(crate) mod http1_framing;
pub(crate) mod idle;
pub(crate) mod local;
pub(crate) mod shard;
pub(crate) mod socket;
pub(crate) mod strict_io;
