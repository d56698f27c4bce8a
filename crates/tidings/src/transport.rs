//! Transports: they move the bytes of connections between sockets, hyper and the host application.

pub(crate) mod event_stream;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod http1_framing;
pub(crate) mod idle;
pub(crate) mod local;
pub(crate) mod shard;
pub(crate) mod socket;
pub(crate) mod strict_io;
