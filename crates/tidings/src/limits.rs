//! Limits on open streams, stream openings and publishes.

mod client_address;
mod connections;
mod rate_limiter;

pub(crate) use self::{
    client_address::{ClientAddress, TrustedProxies},
    connections::{ConnectionLimits, ConnectionPermit, PermitHolder},
    rate_limiter::{Excess, RateLimiter},
};
