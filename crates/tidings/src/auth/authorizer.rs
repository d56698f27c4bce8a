//! Authorization: an identity becomes a permit; the permit of an open stream is checked again after each change.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tidings_protocol::{ChannelName, Subscription, body::EndReason};
use tidings_sync::RwLock;
use tokio::sync::watch;

use super::{
    credential::CredentialError,
    denial::{DeniedAction, DeniedBy, denied_at, denied_by, denied_of},
    hook::{Action, HookClient},
    identity::{AuthMethod, HookSubject, Identity, Principal, time_until},
    permissions::Permissions,
    permit::{ManagePermit, PublishPermit, SubscribePermit},
    policy::Policy,
    revocations::{Revocations, replication::RevocationStore},
    tickets::{Tickets, store::TicketStore},
};
use crate::{
    config::Settings,
    error::{Code, Error},
    limits::{Excess, RateLimiter},
    lock,
    metrics::Metrics,
};

/// Returns the time in milliseconds since 1970.
pub(crate) type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// Authenticates credentials and hands out permits.
pub(crate) struct Authorizer {
    /// `None` for an open hub.
    pub(super) policy: Option<RwLock<Arc<Policy>>>,
    /// Hook of the host application; a reload keeps it.
    pub(super) own_hook: Option<Arc<HookClient>>,
    /// Identity of every client of an open hub.
    pub(super) open_hub_identity: Arc<Identity>,
    pub(super) revocations: Revocations,
    pub(super) tickets: Tickets,
    /// Store of the tickets of all nodes; unset for a single node.
    pub(super) ticket_store: OnceLock<Arc<dyn TicketStore>>,
    /// Store of the revocations of all nodes; unset for a single node.
    pub(super) revocation_store: OnceLock<Arc<dyn RevocationStore>>,
    publish_rates: RateLimiter<Arc<str>>,
    channels_max: u64,
    pub(super) metrics: Arc<Metrics>,
    clock: Clock,
    /// Counts the changes that may take permissions from open streams.
    changes: watch::Sender<u64>,
}

/// Kind of read that a subscription is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadKind {
    /// An open stream.
    Stream,
    /// One request for stored events.
    History,
}

impl Authorizer {
    /// Reads the policy from the settings.
    ///
    /// # Errors
    /// For an unusable key file.
    pub(crate) fn new(
        settings: &Settings,
        own_hook: Option<Arc<HookClient>>,
        revocations: Revocations,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let policy = settings.auth.as_ref().map(|auth| Policy::read(auth, None, &metrics)).transpose()?;
        Ok(Self {
            policy: policy.map(|policy| RwLock::new(&lock::AUTH_POLICY, Arc::new(policy))),
            own_hook,
            open_hub_identity: Arc::new(Identity::local(AuthMethod::OpenHub)),
            revocations,
            tickets: Tickets::default(),
            ticket_store: OnceLock::new(),
            revocation_store: OnceLock::new(),
            publish_rates: RateLimiter::new(settings.limits.publishes_per_second, &lock::PUBLISH_RATES),
            channels_max: settings.limits.channels_per_connection,
            metrics,
            clock,
            changes: watch::Sender::new(0),
        })
    }

    /// Sets the ticket store that all nodes share.
    pub(crate) fn share_tickets(&self, ticket_store: Arc<dyn TicketStore>) {
        let _ = self.ticket_store.set(ticket_store);
    }

    /// Sets the revocation store that all nodes share.
    pub(crate) fn share_revocations(&self, revocation_store: Arc<dyn RevocationStore>) {
        let _ = self.revocation_store.set(revocation_store);
    }

    /// Returns the revocation store of all nodes; `None` for a single node.
    pub(crate) fn revocation_store(&self) -> Option<Arc<dyn RevocationStore>> {
        self.revocation_store.get().cloned()
    }

    /// Returns a receiver of the changes that may take permissions from open streams.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

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
                format!("{channels} channels are asked for; limit is {channels_max} (limits.channels_per_connection); use a pattern or a second stream"),
            )
            .limit("channels_per_connection"));
        }
        Ok(once)
    }

    pub(super) fn policy(&self) -> Option<Arc<Policy>> {
        self.policy.as_ref().map(|policy| policy.read().clone())
    }

    /// Returns the number of changes so far.
    pub(super) fn generation(&self) -> u64 {
        *self.changes.borrow()
    }

    pub(super) fn notify_change(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn has_changed_since(&self, identity: &Identity) -> bool {
        self.generation() != identity.generation
    }

    /// Returns the time in seconds since 1970.
    pub(super) fn now(&self) -> f64 {
        self.now_millis() as f64 / 1000.0
    }

    pub(super) fn now_millis(&self) -> u64 {
        (self.clock)()
    }
}

fn above_rate(events: u64, excess: Excess) -> Error {
    const LIMIT: &str = "publishes_per_second";
    match excess {
        Excess::Batch(rate) => Error::new(
            Code::BatchTooLarge,
            format!(
                "{events} events at once; limit is {rate} a second (limits.{LIMIT}); send smaller batches"
            ),
        )
        .limit(LIMIT),
        Excess::Rate { rate, wait } => Error::new(
            Code::TooManyPublishes,
            format!("limit is {rate} events a second (limits.{LIMIT}); try again in {wait:.0?}"),
        )
        .limit(LIMIT)
        .retry_after(wait),
    }
}
