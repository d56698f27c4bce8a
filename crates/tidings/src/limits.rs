//! Limits on open streams, stream openings and publishes.

mod client_address;
mod connections;
mod rate_limiter;

pub(crate) use self::client_address::{ClientAddress, TrustedProxies};
pub(crate) use self::connections::{ConnectionLimits, ConnectionPermit, PermitHolder};
pub(crate) use self::rate_limiter::{Excess, RateLimiter};
