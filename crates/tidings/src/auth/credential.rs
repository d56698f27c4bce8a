//! Credentials of a request, and the reasons why a credential is refused.

use crate::{
    config::Secret,
    error::{Code, Error},
};

/// Credential of a request. The first location that has a credential decides; the others are ignored.
#[derive(Debug)]
pub(crate) enum Credential {
    /// A JWT or an API key.
    Bearer(Secret),
    /// The id of a session.
    Session,
    /// A ticket.
    Ticket(Secret),
    /// A JWT from a cookie or from the query.
    Token(Secret),
}

/// Reason why a credential is refused. Only the log and the metrics get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CredentialError {
    /// The text is no token, or a required member is missing.
    Shape,
    /// The policy does not accept the algorithm.
    Algorithm,
    /// No key of the policy can have signed the token.
    UnknownKey,
    Signature,
    Expired,
    NotYet,
    Audience,
    Issuer,
    /// The token is valid for longer than `auth.token_max_age`.
    TooLong,
    Revoked,
    ApiKey,
    Session,
    Ticket,
}

impl CredentialError {
    /// Returns the error for the client: one text for every reason that a forger could probe.
    pub(super) fn client_error(self) -> Error {
        match self {
            Self::Expired => Error::new(Code::TokenExpired, "the token has expired; get a new one"),
            Self::Revoked => Error::new(Code::Revoked, "the token was revoked; sign in again"),
            _ => Error::new(Code::BadCredentials, "the credentials are not good here"),
        }
    }

    /// Returns the label of the reason in the metrics.
    pub(super) fn reason(self) -> &'static str {
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
