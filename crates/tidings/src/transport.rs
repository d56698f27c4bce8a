//! The ways a connection's bytes come in and leave.

pub(crate) mod event_stream;
pub(crate) mod http1_framing;
pub(crate) mod idle;
mod keep_alive;
pub(crate) mod local;
pub(crate) mod shard;
pub(crate) mod socket;
pub(crate) mod strict_io;
