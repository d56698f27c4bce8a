//! Bounds that are held while something lives.

mod connections;
mod place;
mod rates;

pub(crate) use self::{
    connections::{Claimant, ConnectionSlot, Connections},
    place::{Place, TrustedProxies},
    rates::{Excess, Rates},
};
