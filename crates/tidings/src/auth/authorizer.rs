//! Authorization: an identity becomes a permit; the permit of an open stream is checked again after each change.

use std::{collections::HashSet, slice, sync::Arc, time::Duration};

use tidings_protocol::{ChannelName, Subscription, body::EndReason};
use tracing::warn;

use super::credential::CredentialError;
use super::denial::{DeniedAction, DeniedBy, denied_at, denied_by, denied_of};
use super::hook::Action;
use super::identity::{AuthMethod, HookSubject, Identity, Principal, time_until};
use super::permissions::Permissions;
use super::permit::{ManagePermit, PublishPermit, SubscribePermit};
use super::revocations::replication::{Replication, RevocationChange, Unreplicated};
use super::revocations::{Revocation, RevokedSubject};
use super::state::Authorizer;
use crate::config::AuthSettings;
use crate::error::{Code, Error};
use crate::limits::Excess;

/// Kind of read that a subscription is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadKind {
    /// An open stream.
    Stream,
    /// One request for stored events.
    History,
}

impl Authorizer {
    /// Permits reading the channels of `subscriptions`, without repeats.
    ///
    /// # Errors
    /// 400 for too many, 401 or 403 for one that the identity may not read, 503 if the hook does not answer.
    pub(crate) async fn subscribe(
        &self,
        identity: &Arc<Identity>,
        subscriptions: Vec<Subscription>,
        read_kind: ReadKind,
    ) -> Result<SubscribePermit, Error> {
        let subscriptions = self.deduplicate(subscriptions)?;
        self.check_ticket(identity, &subscriptions, read_kind)?;
        self.check_subscribe(identity, &subscriptions)?;
        let policy = self.policy();
        let hook = self.hook(policy.as_deref());
        self.check_hook(hook.as_ref(), identity, Action::Subscribe, &subscriptions)
            .await
            .map_err(|(at, error)| denied_of(error, &subscriptions, at))?;
        let is_narrowed = hook.is_some() && matches!(identity.hook_subject(), HookSubject::Ask(_));
        if is_narrowed {
            // Permissions may have changed while the hook was asked.
            self.check_subscribe(identity, &subscriptions)?;
        }
        Ok(SubscribePermit::new(identity.clone(), subscriptions.into(), is_narrowed))
    }

    /// Permits the host application to read these channels.
    ///
    /// # Errors
    /// 400 for too many.
    pub(crate) fn subscribe_host(&self, subscriptions: Vec<Subscription>) -> Result<SubscribePermit, Error> {
        let identity = Arc::new(Identity::local(AuthMethod::Process));
        Ok(SubscribePermit::new(identity, self.deduplicate(subscriptions)?.into(), false))
    }

    /// Checks that the permissions cover a publish to each of `channels`, without the hook.
    ///
    /// # Errors
    /// 401 or 403 for a channel that the identity may not publish to.
    pub(crate) fn check_publish(&self, identity: &Identity, channels: &[ChannelName]) -> Result<(), Error> {
        let is_ticket = identity.is_ticket();
        let missing = self.find_missing(identity, |permissions| {
            let channel = channels.iter().find(|channel| is_ticket || !permissions.publish.has(channel));
            channel.map(ChannelName::as_str).or(is_ticket.then_some(""))
        })?;
        missing.map_or(Ok(()), |channel| Err(self.denied(identity, DeniedAction::Publish(channel))))
    }

    /// Permits publishing a batch of events, each with its channels.
    ///
    /// # Errors
    /// 401 or 403 for a channel that the identity may not publish to, 503 if the hook does not answer, 429 or 413 above
    /// `limits.publishes_per_second`. A denial names the first such event by its index.
    pub(crate) async fn publish<'a>(
        &self,
        identity: &Arc<Identity>,
        batch: impl IntoIterator<Item = &'a [ChannelName]>,
    ) -> Result<PublishPermit, Error> {
        let batch: Vec<&[ChannelName]> = batch.into_iter().collect();
        self.check_publish_batch(identity, &batch)?;
        let policy = self.policy();
        let hook = self.hook(policy.as_deref());
        if hook.is_some() {
            let mut seen = HashSet::new();
            let labels = batch.iter().enumerate();
            let labels =
                labels.flat_map(|(index, channels)| channels.iter().map(move |channel| (index, channel)));
            let channels: Vec<(usize, Subscription)> = labels
                .filter(|(_, channel)| seen.insert(*channel))
                .map(|(index, channel)| (index, Subscription::Channel(channel.clone())))
                .collect();
            let names = channels.iter().map(|(_, channel)| channel);
            self.check_hook(hook.as_ref(), identity, Action::Publish, names)
                .await
                .map_err(|(at, error)| denied_at(error, channels[at].0))?;
            // Permissions may have changed while the hook was asked.
            self.check_publish_batch(identity, &batch)?;
        }
        let publisher = identity.principal.publisher();
        let events = batch.len() as u64;
        self.publish_rates.take(&publisher, events).map_err(|excess| above_rate(events, excess))?;
        Ok(PublishPermit::new(publisher))
    }

    fn check_publish_batch(&self, identity: &Identity, batch: &[&[ChannelName]]) -> Result<(), Error> {
        batch.iter().enumerate().try_for_each(|(index, channels)| {
            self.check_publish(identity, channels).map_err(|error| denied_at(error, index))
        })
    }

    /// Permits the host application to publish.
    pub(crate) fn publish_host(&self) -> PublishPermit {
        PublishPermit::new(Principal::Local.publisher())
    }

    /// Permits managing the hub.
    ///
    /// # Errors
    /// 401 or 403 without that permission.
    pub(crate) fn manage(&self, identity: &Identity) -> Result<ManagePermit, Error> {
        let is_ticket = identity.is_ticket();
        let missing =
            self.find_missing(identity, |permissions| (is_ticket || !permissions.manage).then_some(()))?;
        missing.map_or(Ok(ManagePermit::new()), |()| Err(self.denied(identity, DeniedAction::Manage)))
    }

    /// Revokes a subject and ends its streams; [`Replication::run`] tells the other nodes. Blocks on the disk.
    ///
    /// Without `until` the revocation lasts as long as a token can: `auth.token_max_age`.
    ///
    /// # Errors
    /// For too many revocations.
    pub(crate) fn revoke(
        &self,
        _: &ManagePermit,
        subject: RevokedSubject,
        until: Option<f64>,
    ) -> Result<Replication, Error> {
        let now = self.now();
        let age_max =
            self.settings().map_or(AuthSettings::default().token_max_age, |auth| auth.token_max_age);
        let until = until.unwrap_or(now + age_max.as_secs_f64());
        let revocation = Revocation { subject, at: now as u64, until };
        self.revocations.add(&revocation, now)?;
        self.notify_change();
        let kept = self.revocations.keep(slice::from_ref(&revocation), now);
        Ok(Replication::new(self.revocation_store.get(), revocation, kept))
    }

    /// Applies revocations of other nodes and ends the streams of their subjects. Blocks on the disk.
    ///
    /// Returns the revocations of this node that the store lacks.
    pub(crate) fn apply_remote(&self, change: RevocationChange) -> Vec<Unreplicated> {
        let now = self.now();
        let new = self.revocations.add_remote(&change, now);
        if !new.is_empty() {
            self.notify_change();
            if let Err(error) = self.revocations.keep(&new, now) {
                warn!(%error, revocations = new.len(), "remote revocations are in force, but not on disk");
            }
        }
        match change {
            RevocationChange::All(rows) => self.revocations.unreplicated(rows, now),
            RevocationChange::One(..) | RevocationChange::Nothing => Vec::new(),
        }
    }

    /// Checks an open stream again, without the hook.
    ///
    /// # Errors
    /// The reason why the stream ends.
    pub(crate) fn reauthorize(
        &self,
        identity: &Identity,
        subscriptions: &[Subscription],
    ) -> Result<(), EndReason> {
        let Some(policy) = self.policy() else { return Ok(()) };
        policy.check(&identity.method, &self.revocations, self.now()).map_err(|credential_error| {
            match credential_error {
                CredentialError::Expired => EndReason::TokenExpired,
                CredentialError::Session => EndReason::SessionEnded,
                _ => EndReason::Revoked,
            }
        })?;
        let permissions = policy.permissions(&identity.method);
        let is_covered = subscriptions.iter().all(|held| permissions.subscribe.covers(held));
        if is_covered { Ok(()) } else { Err(EndReason::Revoked) }
    }

    /// As [`Authorizer::reauthorize`], for a stream that opens: costs nothing if nothing changed since authentication.
    pub(crate) fn reauthorize_new(
        &self,
        identity: &Identity,
        subscriptions: &[Subscription],
    ) -> Result<(), EndReason> {
        if self.has_changed_since(identity) { self.reauthorize(identity, subscriptions) } else { Ok(()) }
    }

    /// Returns the time until the identity's credentials end, with `auth.leeway`; `None` without an end.
    pub(crate) fn time_left(&self, identity: &Identity) -> Option<Duration> {
        let leeway = self.settings().map(|auth| auth.leeway).unwrap_or_default();
        identity.expires_at().map(|at| time_until(at + leeway.as_secs_f64(), self.now_millis()))
    }

    /// Returns the end of the identity's credentials, in milliseconds since 1970; `None` without an end.
    pub(crate) fn expires_at(&self, identity: &Identity) -> Option<u64> {
        identity.expires_at().map(|seconds| (seconds * 1000.0) as u64)
    }

    fn check_subscribe(&self, identity: &Identity, subscriptions: &[Subscription]) -> Result<(), Error> {
        let missing = self.find_missing(identity, |permissions| {
            subscriptions.iter().position(|requested| !permissions.subscribe.covers(requested))
        })?;
        missing.map_or(Ok(()), |at| {
            let error = self.denied(identity, DeniedAction::Subscribe(subscriptions[at].as_str()));
            Err(denied_of(error, subscriptions, at))
        })
    }

    /// Returns what `find` finds missing in the identity's permissions: those at authentication, then those of now.
    ///
    /// # Errors
    /// 401 for credentials that ended since authentication, for example while a body was read.
    fn find_missing<T>(
        &self,
        identity: &Identity,
        find: impl Fn(&Permissions) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(policy) = self.policy() else { return Ok(find(&identity.permissions)) };
        policy
            .check(&identity.method, &self.revocations, self.now())
            .map_err(|credential_error| self.credential_error(credential_error))?;
        let missing = find(&identity.permissions);
        if missing.is_some() || !self.has_changed_since(identity) {
            return Ok(missing);
        }
        Ok(find(&policy.permissions(&identity.method)))
    }

    fn denied(&self, identity: &Identity, action: DeniedAction<'_>) -> Error {
        denied_by(DeniedBy::Pattern, identity, action, &self.metrics)
    }

    /// Removes repeated subscriptions; fails above `limits.channels_per_connection`.
    fn deduplicate(&self, subscriptions: Vec<Subscription>) -> Result<Vec<Subscription>, Error> {
        let mut seen = HashSet::with_capacity(subscriptions.len());
        let once: Vec<_> =
            subscriptions.into_iter().filter(|subscription| seen.insert(subscription.clone())).collect();
        let (channels, channels_max) = (once.len() as u64, self.channels_max);
        if channels > channels_max {
            return Err(Error::new(
                Code::TooManyChannels,
                format!("too many channels: {channels}; limit is {channels_max} (limits.channels_per_connection); use a pattern or a second stream"),
            )
            .limit("channels_per_connection"));
        }
        Ok(once)
    }
}

fn above_rate(events: u64, excess: Excess) -> Error {
    const LIMIT: &str = "publishes_per_second";
    match excess {
        Excess::Batch(rate) => Error::new(
            Code::BatchTooLarge,
            format!(
                "batch is too large: {events} events; limit is {rate} per second (limits.{LIMIT}); send smaller ones"
            ),
        )
        .limit(LIMIT),
        Excess::Rate { rate, wait } => Error::new(
            Code::TooManyPublishes,
            format!("too many publishes; limit is {rate} events per second (limits.{LIMIT}); retry in {wait:.0?}"),
        )
        .limit(LIMIT)
        .retry_after(wait),
    }
}
