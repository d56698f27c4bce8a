//! One revocation, and its subject.

use serde::{Deserialize, Serialize};

/// Subject of a revocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RevokedSubject {
    /// Every token of a user that was issued before the revocation.
    User(String),
    /// A session.
    Session(String),
    /// One token, by its `jti`.
    #[serde(rename = "jti")]
    Token(String),
}

/// Revocation as the journal stores it. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::auth) struct Revocation {
    #[serde(flatten)]
    pub(in crate::auth) subject: RevokedSubject,
    pub(in crate::auth) at: u64,
    pub(in crate::auth) until: f64,
}
