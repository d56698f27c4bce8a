//! Bounds that are held while something lives.

mod client_address;
mod connections;
mod rate_limiter;

pub(crate) use self::{
    client_address::{ClientAddress, TrustedProxies},
    connections::{ConnectionLimits, ConnectionPermit, PermitHolder},
    rate_limiter::{Excess, RateLimiter},
};
