//! The ways a connection's bytes come in and leave.

pub(crate) mod direct;
pub(crate) mod head;
pub(crate) mod hyper;
pub(crate) mod idle;
mod keep_alive;
pub(crate) mod local;
pub(crate) mod socket;
pub(crate) mod strict;
