//! The ways a connection's bytes leave.

pub(crate) mod hyper;
pub(crate) mod socket;
