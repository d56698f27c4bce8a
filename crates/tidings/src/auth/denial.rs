//! Denied access: the error for the client, and a log line and a count for the operator.

use tidings_protocol::{Subscription, words};
use tracing::debug;

use super::{Identity, Principal};
use crate::error::{Code, Error};
use crate::metrics::Metrics;

/// Denied action.
#[derive(Debug, Clone, Copy)]
pub(super) enum DeniedAction<'a> {
    /// Read this channel or pattern.
    Subscribe(&'a str),
    /// Publish to this channel.
    Publish(&'a str),
    Manage,
}

words! {
    /// Rule that denies an action.
    pub(super) enum DeniedBy {
        /// No pattern of the permissions covers the channel.
        Pattern = "pattern",
        /// The hook refuses the channel, which the patterns cover.
        Hook = "hook",
    }
}

/// Returns the error that denies an action. A 403 about a channel is logged and counted with the rule that denied it.
///
/// The error does not name the rule: the rule would reveal the permissions of others.
pub(super) fn denied_by(
    by: DeniedBy,
    identity: &Identity,
    denied_action: DeniedAction<'_>,
    metrics: &Metrics,
) -> Error {
    let error = match by {
        DeniedBy::Pattern => denied(identity),
        DeniedBy::Hook => denied_by_name(),
    };
    let (action, channel) = match denied_action {
        DeniedAction::Subscribe(channel) => ("subscribe", channel),
        DeniedAction::Publish(channel) => ("publish", channel),
        DeniedAction::Manage => return error,
    };
    if error.code() == Code::AccessDenied {
        // `Debug` escapes the name, which comes from a token.
        debug!(by = by.as_str(), principal = ?identity.principal(), action, channel, "access denied");
        metrics.auth.denied(by.as_str());
    }
    error
}

/// Returns 401 for a client without credentials, 403 for any other.
pub(crate) fn denied(identity: &Identity) -> Error {
    if *identity.principal() == Principal::Anonymous {
        return Error::new(
            Code::CredentialsMissing,
            "credentials are missing; send `Authorization: Bearer` with a token or an API key",
        );
    }
    denied_by_name()
}

/// Adds the index of the denied event in its batch.
pub(crate) fn denied_at(error: Error, index: usize) -> Error {
    if error.code() == Code::AccessDenied { error.at(index) } else { error }
}

/// Adds the denied channel, if several were requested.
pub(super) fn denied_of(error: Error, subscriptions: &[Subscription], at: usize) -> Error {
    let is_of_several = error.code() == Code::AccessDenied && subscriptions.len() > 1;
    if is_of_several { error.channel(subscriptions[at].as_str()) } else { error }
}

fn denied_by_name() -> Error {
    Error::new(Code::AccessDenied, "Access denied")
}
