//! Checks against the hook: of a request, and of an open stream again.

use std::{sync::Arc, time::Duration};

use futures_util::{TryStreamExt, stream::FuturesOrdered};
use tidings_protocol::Subscription;
use tracing::debug;

use super::{AccessRequest, Action, HookClient, Subject};
use crate::auth::denial::{DeniedAction, DeniedBy, denied_by};
use crate::auth::identity::{HookSubject, Identity};
use crate::auth::policy::Policy;
use crate::auth::state::Authorizer;
use crate::config::AuthSettings;
use crate::error::Error;

impl Authorizer {
    /// Returns the interval at which the hook is asked again about open streams; `None` without a hook.
    pub(crate) fn recheck_interval(&self) -> Option<Duration> {
        let policy = self.policy();
        let interval = policy.as_ref().map(|policy| policy.settings.hook_recheck);
        self.hook(policy.as_deref()).map(|_| interval.unwrap_or(AuthSettings::default().hook_recheck))
    }

    /// Whether the hook refuses an open stream. A hook that does not answer refuses nothing.
    pub(crate) async fn is_refused_by_hook(
        &self,
        identity: &Identity,
        subscriptions: &[Subscription],
    ) -> bool {
        let policy = self.policy();
        let Some(hook) = self.hook(policy.as_deref()) else { return false };
        let HookSubject::Ask(subject) = identity.hook_subject() else { return false };
        for subscription in subscriptions {
            let request = access_request(subject.clone(), Action::Subscribe, subscription);
            if hook.recheck(&request).await == Some(false) {
                debug!(principal = ?identity.principal, channel = %subscription, "hook ends a stream");
                return true;
            }
        }
        false
    }

    /// Asks the hook about all subscriptions at once.
    ///
    /// # Errors
    /// The first subscription that the hook refuses or does not answer, by its index.
    pub(in crate::auth) async fn check_hook<'a>(
        &self,
        hook: Option<&Arc<HookClient>>,
        identity: &Identity,
        action: Action,
        subscriptions: impl IntoIterator<Item = &'a Subscription>,
    ) -> Result<(), (usize, Error)> {
        let (Some(hook), HookSubject::Ask(subject)) = (hook, identity.hook_subject()) else { return Ok(()) };
        let checks = subscriptions.into_iter().enumerate().map(async |(at, subscription)| {
            match hook.allow(&access_request(subject.clone(), action, subscription)).await {
                Ok(true) => Ok(()),
                Ok(false) => Err((at, subscription, None)),
                Err(error) => Err((at, subscription, Some(error))),
            }
        });
        let checked = checks.collect::<FuturesOrdered<_>>().try_collect().await;
        checked.map_err(|(at, subscription, unavailable): (usize, &Subscription, Option<Error>)| {
            let denied = || {
                let channel = subscription.as_str();
                let denied_action = match action {
                    Action::Subscribe => DeniedAction::Subscribe(channel),
                    Action::Publish => DeniedAction::Publish(channel),
                };
                denied_by(DeniedBy::Hook, identity, denied_action, &self.metrics)
            };
            (at, unavailable.unwrap_or_else(denied))
        })
    }

    /// Returns the hook of the host application, else that of `[auth]`.
    pub(in crate::auth) fn hook(&self, policy: Option<&Policy>) -> Option<Arc<HookClient>> {
        self.own_hook.clone().or_else(|| policy?.hook.clone())
    }
}

fn access_request(principal: Option<Subject>, action: Action, subscription: &Subscription) -> AccessRequest {
    AccessRequest {
        principal,
        action,
        channel: subscription.as_str().to_owned(),
        is_pattern: matches!(subscription, Subscription::Pattern(_)),
    }
}
