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

pub(crate) use self::authorizer::ReadKind;
pub(crate) use self::credential::Credential;
pub(crate) use self::denial::{denied, denied_at};
pub(crate) use self::hook::HookClient;
pub use self::hook::{AccessRequest, Action, Hook, HookError, Subject};
pub(crate) use self::identity::{Identity, PUBLISHER_BYTES_MAX, Principal};
pub(crate) use self::permit::{PublishPermit, SubscribePermit};
#[cfg(any(test, feature = "redis"))]
pub(crate) use self::revocations::replication::RevocationChange;
#[cfg(feature = "redis")]
pub(crate) use self::revocations::replication::{ReplicationOutcome, StoredRevocation};
pub(crate) use self::revocations::replication::{RevocationStore, retry_unreplicated};
pub(crate) use self::revocations::{Revocations, RevokedSubject};
pub(crate) use self::state::Authorizer;
pub(crate) use self::tickets::store::TicketStore;
#[cfg(any(test, fuzzing))]
pub(crate) use self::token::fuzz;

#[cfg(test)]
pub(crate) mod tests;
