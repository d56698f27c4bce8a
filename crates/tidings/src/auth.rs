//! Authentication and authorization: a credential becomes an [`Identity`], an identity a permit.
//!
//! Code that subscribes, publishes or manages takes a permit, and only this module makes permits.

mod authenticator;
mod authorizer;
mod credential;
mod denial;
mod hook;
mod identity;
mod jwks;
mod permissions;
mod permit;
mod policy;
mod reload;
mod revocations;
mod state;
mod tickets;
mod token;

pub use self::hook::{AccessRequest, Action, Hook, HookError, Subject};
#[cfg(any(test, feature = "redis"))]
pub(crate) use self::revocations::replication::RevocationChange;
#[cfg(feature = "redis")]
pub(crate) use self::revocations::replication::{ReplicationOutcome, StoredRevocation};
#[cfg(any(test, fuzzing))]
pub(crate) use self::token::fuzz;
pub(crate) use self::{
    authorizer::ReadKind,
    credential::Credential,
    denial::{denied, denied_at},
    hook::HookClient,
    identity::{Identity, PUBLISHER_BYTES_MAX, Principal},
    permit::{PublishPermit, SubscribePermit},
    revocations::replication::{RevocationStore, retry_unreplicated},
    revocations::{Revocations, RevokedSubject},
    state::Authorizer,
    tickets::store::TicketStore,
};

#[cfg(test)]
pub(crate) mod tests;
