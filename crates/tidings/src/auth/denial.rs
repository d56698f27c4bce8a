//! Denied access: the error for the client, and a log line and a count for the operator.

use tidings_protocol::Subscription;
use tracing::debug;

use super::{Identity, Principal};
use crate::{
    error::{Code, Error},
    metrics::Metrics,
};

/// Action that a caller asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum DeniedAction<'a> {
    /// Read this channel or pattern.
    Subscribe(&'a str),
    /// Publish to this channel.
    Publish(&'a str),
    Manage,
}

/// Rule that denies an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeniedBy {
    /// No pattern of the credentials takes in the channel.
    Pattern,
    /// The patterns do, and the hook said no.
    Hook,
}

impl DeniedBy {
    fn word(self) -> &'static str {
        match self {
            Self::Pattern => "pattern",
            Self::Hook => "hook",
        }
    }
}

/// Returns the error that denies an action. A 403 about a channel is logged and counted with the rule that denied it; the
/// client does not learn the rule, since it would tell what patterns and the backend allow to others.
pub(super) fn denied_by(
    by: DeniedBy,
    identity: &Identity,
    wanted: DeniedAction<'_>,
    metrics: &Metrics,
) -> Error {
    let error = match by {
        DeniedBy::Pattern => denied(identity),
        DeniedBy::Hook => denied_by_name(),
    };
    let (action, channel) = match wanted {
        DeniedAction::Subscribe(channel) => ("subscribe", channel),
        DeniedAction::Publish(channel) => ("publish", channel),
        DeniedAction::Manage => return error,
    };
    if error.code() == Code::AccessDenied {
        // A name from a token may hold anything, so it is quoted.
        debug!(by = by.word(), principal = ?identity.principal(), action, channel, "access denied");
        metrics.access_denied(by.word());
    }
    error
}

/// Returns 401 for a caller without credentials, since credentials may help; 403 for any other.
pub(crate) fn denied(identity: &Identity) -> Error {
    if *identity.principal() == Principal::Anonymous {
        return Error::new(
            Code::CredentialsMissing,
            "this needs credentials; send `Authorization: Bearer` with a token or an API key",
        );
    }
    denied_by_name()
}

/// Names the event of a batch that is not allowed. Faults of the caller have no index.
pub(crate) fn denied_at(error: Error, index: usize) -> Error {
    if error.code() == Code::AccessDenied { error.at(index) } else { error }
}

/// Names the one of several channels that is not allowed.
pub(super) fn denied_of(error: Error, subscriptions: &[Subscription], at: usize) -> Error {
    let is_of_several = error.code() == Code::AccessDenied && subscriptions.len() > 1;
    if is_of_several { error.channel(subscriptions[at].as_str()) } else { error }
}

fn denied_by_name() -> Error {
    Error::new(Code::AccessDenied, "Access denied")
}
