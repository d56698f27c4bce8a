//! Bounds that are held while something lives.

mod client_address;
mod connections;
mod rate_limiter;

pub(crate) use self::{
    client_address::{Place, TrustedProxies},
    connections::{Claimant, ConnectionSlot, Connections},
    rate_limiter::{Excess, Rates},
};
