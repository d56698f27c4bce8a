//! Credentials of a request, and the reasons why a credential is refused.

use tidings_protocol::words;

use crate::config::Secret;
use crate::error::{Code, Error};

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

words! {
    /// Reason why a credential is refused. Only the log and the metrics get it.
    pub(crate) enum CredentialError {
        /// The text is no token, or a required member is missing.
        Shape = "shape",
        /// The policy does not accept the algorithm.
        Algorithm = "algorithm",
        /// No key of the policy can have signed the token.
        UnknownKey = "unknown_key",
        Signature = "signature",
        Expired = "expired",
        NotYet = "not_yet",
        Audience = "audience",
        Issuer = "issuer",
        /// The token is valid for longer than `auth.token_max_age`.
        TooLong = "too_long",
        Revoked = "revoked",
        ApiKey = "api_key",
        Session = "session",
        Ticket = "ticket",
    }
}

impl CredentialError {
    /// Returns the error for the client: one text for every reason that a forger could probe.
    pub(super) fn client_error(self) -> Error {
        match self {
            Self::Expired => Error::new(Code::TokenExpired, "the token has expired; get a new one"),
            Self::Revoked => Error::new(Code::Revoked, "the token was revoked; sign in again"),
            _ => Error::new(Code::BadCredentials, "the credentials are invalid; get new ones"),
        }
    }
}
