//! Credentials in, a permit out: subscribing, publishing and managing take a permit, so code that forgot to ask has
//! nothing to pass.

mod authorizer;
mod denial;
mod hook;
mod identity;
mod jwks;
mod permissions;
mod permit;
mod policy;
mod revocations;
mod tickets;
mod token;

pub use self::hook::{AccessRequest, Action, Hook, HookError, Subject};
#[cfg(feature = "redis")]
pub(crate) use self::revocations::replication::{ReplicationOutcome, StoredRevocation};
#[cfg(any(test, fuzzing))]
pub(crate) use self::token::fuzz;
pub(crate) use self::{
    authorizer::Authorizer,
    denial::{denied, denied_at},
    hook::HookClient,
    identity::{Identity, PUBLISHER_BYTES_MAX, Principal},
    permit::{ManagePermit, PublishPermit, SubscribePermit},
    revocations::replication::{RevocationChange, RevocationStore, retry_unreplicated},
    revocations::{Revocations, RevokedSubject},
    tickets::Ticket,
    tickets::store::TicketStore,
};
use crate::{
    config::Secret,
    error::{Code, Error},
};

/// What a request presents of itself. One carrier decides, and is all that is looked at.
#[derive(Debug)]
pub(crate) enum Credential {
    /// A JWT or an API key.
    Bearer(Secret),
    /// A session's id.
    Session,
    /// A ticket.
    Ticket(Secret),
    /// A JWT from where browsers keep it, or from the query.
    Token(Secret),
}

/// Why credentials are not good. Only the log and the metrics hear which it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CredentialError {
    /// It is no token at all, or lacks what a token needs.
    Shape,
    /// An algorithm that is not taken.
    Algorithm,
    /// No key is known that could have signed it.
    UnknownKey,
    Signature,
    Expired,
    NotYet,
    Audience,
    Issuer,
    /// It lasts longer than `auth.token_max_age`.
    TooLong,
    Revoked,
    ApiKey,
    Session,
    Ticket,
}

/// What a subscription is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadKind {
    /// An open stream.
    Stream,
    /// Stored events, asked for once.
    History,
}

impl CredentialError {
    /// What the client is told. All that a forger could probe is one.
    fn client_error(self) -> Error {
        match self {
            Self::Expired => Error::new(Code::TokenExpired, "the token has expired; get a new one"),
            Self::Revoked => Error::new(Code::Revoked, "the token was revoked; sign in again"),
            _ => Error::new(Code::BadCredentials, "the credentials are not good here"),
        }
    }

    /// What the operator is told.
    fn reason(self) -> &'static str {
        match self {
            Self::Shape => "shape",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::TooLong => "too_long",
            Self::Revoked => "revoked",
            Self::ApiKey => "api_key",
            Self::Session => "session",
            Self::Ticket => "ticket",
        }
    }
}
