//! The gate: judges credentials, hands out permits, and says again and again whether they still hold.

mod by_ticket;

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::{TryStreamExt, stream::FuturesOrdered};
use tidings_protocol::{ChannelName, Subscription, body::EndReason};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::{
    AccessRequest, Action, Credential, CredentialError, HookClient, Identity, ManagePermit, Principal,
    PublishPermit, ReadKind, RevocationChange, RevocationStore, Revocations, RevokedSubject, Subject,
    SubscribePermit, TicketStore,
    denial::{DeniedAction, DeniedBy, denied_at, denied_by, denied_of},
    identity::{AuthMethod, SubjectOwned, until},
    permissions::Permissions,
    policy::{Policy, PolicyError, ProviderKeys},
    revocations::{
        Revocation,
        replication::{self, Replication, Unreplicated},
    },
    tickets::Tickets,
    token::VerificationKey,
};
use crate::{
    config::{AuthSettings, Settings},
    error::{Code, Error},
    limits::{Excess, RateLimiter},
    metrics::Metrics,
    sync::{Lock, RwLock},
};

/// Tells the time: milliseconds since 1970.
pub(crate) type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// Decides who may do what.
pub(crate) struct Authorizer {
    /// `None` where the hub is open.
    rules: Option<RwLock<Arc<Policy>>>,
    /// A hook of the hub's own process; it stays when the settings are read again.
    own_hook: Option<Arc<HookClient>>,
    /// Whoever reaches an open hub.
    anybody: Arc<Identity>,
    revocations: Revocations,
    tickets: Tickets,
    /// Where tickets are kept that are good at other nodes, too.
    ticket_store: OnceLock<Arc<dyn TicketStore>>,
    /// Where all nodes learn of revocations.
    revocation_store: OnceLock<Arc<dyn RevocationStore>>,
    rates: RateLimiter<Arc<str>>,
    channels_max: u64,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// Counts what may take rights from streams that are open.
    changes: watch::Sender<u64>,
}

impl Authorizer {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a key file cannot be used.
    pub(crate) fn new(
        settings: &Settings,
        own_hook: Option<Arc<HookClient>>,
        revocations: Revocations,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let rules = settings.auth.as_ref().map(|auth| Policy::read(auth, None, &metrics)).transpose()?;
        Ok(Self {
            rules: rules.map(|rules| RwLock::new(Lock::AuthPolicy, Arc::new(rules))),
            own_hook,
            anybody: Arc::new(local(AuthMethod::OpenHub)),
            revocations,
            tickets: Tickets::default(),
            ticket_store: OnceLock::new(),
            revocation_store: OnceLock::new(),
            rates: RateLimiter::new(settings.limits.publishes_per_second, Lock::PublishRates),
            channels_max: settings.limits.channels_per_connection,
            metrics,
            clock,
            changes: watch::Sender::new(0),
        })
    }

    /// Has tickets kept where other nodes find them, from now on.
    pub(crate) fn share_tickets(&self, ticket_store: Arc<dyn TicketStore>) {
        let _ = self.ticket_store.set(ticket_store);
    }

    /// Has revocations hold at all nodes that look there, from now on.
    pub(crate) fn share_revocations(&self, revocation_store: Arc<dyn RevocationStore>) {
        let _ = self.revocation_store.set(revocation_store);
    }

    /// Where revocations of all nodes are, where there may be others.
    pub(crate) fn revocation_store(&self) -> Option<Arc<dyn RevocationStore>> {
        self.revocation_store.get().cloned()
    }

    /// The settings in force; `None` where the hub is open.
    pub(crate) fn settings(&self) -> Option<impl std::ops::Deref<Target = AuthSettings>> {
        self.policy().map(SettingsOf)
    }

    /// Reads settings that are to replace those in force; nothing changes before [`Authorizer::put`].
    ///
    /// # Errors
    /// When a key file cannot be used, or the hub was open and is not to be, or the other way round.
    pub(crate) fn prepare(&self, settings: Option<&AuthSettings>) -> Result<PreparedPolicy, Error> {
        match (self.policy(), settings) {
            (None, None) => Ok(PreparedPolicy(None)),
            (Some(before), Some(settings)) => {
                Ok(PreparedPolicy(Some(Arc::new(Policy::read(settings, Some(&before), &self.metrics)?))))
            }
            _ => Err(Error::new(
                Code::BadRequest,
                "[auth] cannot be turned on or off in a running hub; restart it",
            )),
        }
    }

    /// Puts settings in force, and has every open stream judged by them.
    pub(crate) fn install(&self, prepared: PreparedPolicy) {
        if let (Some(rules), PreparedPolicy(Some(new))) = (&self.rules, prepared) {
            rules.replace(new);
            self.changed();
        }
    }

    /// Hears of everything that may take rights from open streams.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Fetches the identity provider's keys, where there is one, and has streams judged where they changed.
    pub(crate) async fn keep_fresh(&self) {
        let Some(jwks) = self.policy().and_then(|rules| rules.jwks.clone()) else { return };
        let before = jwks.newest();
        jwks.keep_fresh().await;
        self.changed_from(before.as_ref(), &jwks);
    }

    /// Whether streams that are open have to be asked about again, and how often.
    pub(crate) fn recheck_interval(&self) -> Option<Duration> {
        let rules = self.policy();
        let settings = rules.as_ref().map(|rules| rules.settings.hook_recheck);
        let interval = settings.unwrap_or(AuthSettings::default().hook_recheck);
        self.hook(rules.as_deref()).map(|_| interval)
    }

    /// Authenticates the caller of a request. A ticket is spent.
    ///
    /// # Errors
    /// 401 where the credentials are not good, 503 where that cannot be told.
    pub(crate) async fn authenticate(&self, credential: Option<&Credential>) -> Result<Arc<Identity>, Error> {
        self.authenticate_with(credential, false).await
    }

    /// Authenticates the caller of a `HEAD`: a ticket stays good.
    ///
    /// # Errors
    /// As [`Authorizer::admit`].
    pub(crate) async fn authenticate_readonly(
        &self,
        credential: Option<&Credential>,
    ) -> Result<Arc<Identity>, Error> {
        self.authenticate_with(credential, true).await
    }

    async fn authenticate_with(
        &self,
        credential: Option<&Credential>,
        only_looks: bool,
    ) -> Result<Arc<Identity>, Error> {
        let admitted_at = *self.changes.borrow();
        let Some(rules) = self.policy() else { return Ok(self.anybody.clone()) };
        let keys = rules.jwks.as_ref().and_then(|jwks| jwks.newest());
        let found = self.identify(&rules, credential, only_looks).await;
        // An unknown key's name may have brought new keys, and taken old ones away.
        if let Some(jwks) = &rules.jwks {
            self.changed_from(keys.as_ref(), jwks);
        }
        let (principal, basis) = match found {
            Ok(found) => found,
            Err(PolicyError::Flaw(credential_error)) => return Err(self.credential_error(credential_error)),
            Err(PolicyError::Error(error)) => return Err(error),
        };
        rules
            .check(&basis, &self.revocations, self.now())
            .map_err(|credential_error| self.credential_error(credential_error))?;
        let permissions = rules.permissions(&basis);
        Ok(Arc::new(Identity { principal, permissions, basis, admitted_at }))
    }

    async fn identify(
        &self,
        rules: &Policy,
        credential: Option<&Credential>,
        only_looks: bool,
    ) -> Result<(Principal, AuthMethod), PolicyError> {
        match credential {
            None => Ok((Principal::Anonymous, AuthMethod::Nothing)),
            Some(Credential::Bearer(secret)) if secret.reveal().starts_with("tk_") => {
                Ok(rules.api_key(secret.reveal())?)
            }
            Some(Credential::Bearer(secret) | Credential::Token(secret)) => {
                rules.token(secret.reveal()).await
            }
            Some(Credential::Ticket(secret)) => {
                let (maker, subscriptions) = self.redeem(rules, secret.reveal(), only_looks).await?;
                Ok((maker.principal.clone(), AuthMethod::Ticket { maker, subscriptions }))
            }
            // No session can be alive: nothing makes them yet.
            Some(Credential::Session) => Err(CredentialError::Session.into()),
        }
    }

    /// The hub's own process.
    pub(crate) fn host_identity(&self) -> Arc<Identity> {
        Arc::new(local(AuthMethod::Process))
    }

    /// Leave to read what all of `subscriptions` match. Each counts once.
    ///
    /// # Errors
    /// 400 for too many, 401 or 403 where one of them is not the caller's to read, 503 where the hook does not answer.
    pub(crate) async fn subscribe(
        &self,
        identity: &Arc<Identity>,
        subscriptions: Vec<Subscription>,
        reading: ReadKind,
    ) -> Result<SubscribePermit, Error> {
        let subscriptions = self.once(subscriptions)?;
        self.check_ticket(identity, &subscriptions, reading)?;
        self.check_subscribe(identity, &subscriptions)?;
        let rules = self.policy();
        let hook = self.hook(rules.as_deref());
        self.check_hook(hook.as_ref(), identity, Action::Subscribe, &subscriptions)
            .await
            .map_err(|(at, error)| denied_of(error, &subscriptions, at))?;
        let is_narrowed = hook.is_some() && matches!(identity.subject(), SubjectOwned::As(_));
        if is_narrowed {
            // It may have taken its time.
            self.check_subscribe(identity, &subscriptions)?;
        }
        Ok(SubscribePermit::new(identity.clone(), subscriptions.into(), is_narrowed))
    }

    /// Leave to read these channels for the hub's own process, which is not asked about.
    ///
    /// # Errors
    /// 400 for too many.
    pub(crate) fn subscribe_host(&self, subscriptions: Vec<Subscription>) -> Result<SubscribePermit, Error> {
        Ok(SubscribePermit::new(self.host_identity(), self.once(subscriptions)?.into(), false))
    }

    /// Whether the caller's rights allow to publish to every one of `channels`; the hook is not asked.
    ///
    /// # Errors
    /// 401 or 403 where one of them is not the caller's to publish to.
    pub(crate) fn check_publish(&self, identity: &Identity, channels: &[ChannelName]) -> Result<(), Error> {
        let is_ticket = identity.is_ticket();
        self.check(identity, |permissions| {
            let lacked = channels.iter().find(|channel| is_ticket || !permissions.publish.has(channel));
            let lacked = lacked.map(|channel| DeniedAction::Publish(channel.as_str()));
            lacked.or(is_ticket.then_some(DeniedAction::Publish("")))
        })
    }

    /// Leave to publish a batch of events, of which each goes to its channels.
    ///
    /// # Errors
    /// 401 or 403 where one of them is not the caller's to publish to, 503 where the hook does not answer, 429 or 413
    /// past `limits.publishes_per_second`. Denied access names the first such event by its index.
    pub(crate) async fn publish<'a>(
        &self,
        identity: &Arc<Identity>,
        batch: impl IntoIterator<Item = &'a [ChannelName]>,
    ) -> Result<PublishPermit, Error> {
        let batch: Vec<&[ChannelName]> = batch.into_iter().collect();
        let may_all = || {
            let denied_at = |(index, channels): (usize, &&[ChannelName])| {
                self.check_publish(identity, channels).map_err(|error| denied_at(error, index))
            };
            batch.iter().enumerate().try_for_each(denied_at)
        };
        may_all()?;
        let rules = self.policy();
        let hook = self.hook(rules.as_deref());
        if hook.is_some() {
            let mut seen = HashSet::new();
            let each = batch.iter().enumerate();
            let each =
                each.flat_map(|(index, channels)| channels.iter().map(move |channel| (index, channel)));
            let asked: Vec<(usize, Subscription)> = each
                .filter(|(_, channel)| seen.insert(*channel))
                .map(|(index, channel)| (index, Subscription::Channel(channel.clone())))
                .collect();
            let channels = asked.iter().map(|(_, channel)| channel);
            let outcome = self.check_hook(hook.as_ref(), identity, Action::Publish, channels).await;
            outcome.map_err(|(at, error)| denied_at(error, asked[at].0))?;
            // It may have taken its time.
            may_all()?;
        }
        let publisher = identity.principal.publisher();
        let events = batch.len() as u64;
        self.rates.take(&publisher, events).map_err(|excess| too_fast(events, excess))?;
        Ok(PublishPermit::new(publisher))
    }

    /// Leave to publish for the hub's own process, which is not asked about.
    pub(crate) fn publish_host(&self) -> PublishPermit {
        PublishPermit::new(Principal::Local.publisher())
    }

    /// Leave to look after the hub.
    ///
    /// # Errors
    /// 401 or 403 where the caller may not.
    pub(crate) fn manage(&self, identity: &Identity) -> Result<ManagePermit, Error> {
        let is_ticket = identity.is_ticket();
        self.check(identity, |permissions| {
            (is_ticket || !permissions.manage).then_some(DeniedAction::Manage)
        })?;
        Ok(ManagePermit::new())
    }

    /// Refuses somebody from now on, until then or for as long as a token may last, and ends what they have open; what it
    /// answers tells the other nodes. Must be called where blocking is allowed.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn revoke(
        &self,
        _: &ManagePermit,
        subject: RevokedSubject,
        until: Option<f64>,
    ) -> Result<Replication, Error> {
        let now = self.now();
        let settings = self.settings();
        let longest = settings.map_or(AuthSettings::default().token_max_age, |auth| auth.token_max_age);
        let until = until.unwrap_or(now + longest.as_secs_f64());
        let revocation = Revocation { subject, at: now as u64, until };
        self.revocations.add(&revocation, now)?;
        self.changed();
        let kept = self.revocations.keep(std::slice::from_ref(&revocation), now);
        Ok(Replication::new(self.revocation_store.get(), revocation, kept))
    }

    /// Refuses whom other nodes refuse, and ends what they have open; answers what those nodes do not know. Must be called
    /// where blocking is allowed.
    pub(crate) fn apply_remote(&self, news: RevocationChange) -> Vec<Unreplicated> {
        let now = self.now();
        let (notes, is_all) = match news {
            RevocationChange::All(notes) => (notes, true),
            RevocationChange::One(name, text) => (vec![(name, String::new(), text)], false),
            RevocationChange::Nothing => return Vec::new(),
        };
        let theirs = notes.iter().filter_map(|(name, _, text)| replication::read(name, text)).collect();
        let new = self.revocations.add_others(theirs, now);
        if !new.is_empty() {
            self.changed();
            if let Err(error) = self.revocations.keep(&new, now) {
                warn!(%error, revocations = new.len(), "revocations of other nodes are in force, but not kept");
            }
        }
        if is_all { self.unreplicated(notes, now) } else { Vec::new() }
    }

    /// What is in force here beyond what these notes say.
    fn unreplicated(&self, notes: Vec<(String, String, String)>, now: f64) -> Vec<Unreplicated> {
        let mut notes: HashMap<_, _> =
            notes.into_iter().map(|(name, version, text)| (name, (version, text))).collect();
        let here = self.revocations.all(now).into_iter();
        let untold =
            here.filter_map(|revocation| match notes.remove(&replication::name_of(&revocation.subject)) {
                Some((version, text)) => replication::if_stronger(revocation, version, &text),
                None => Some(Unreplicated { revocation, version: String::new() }),
            });
        untold.collect()
    }

    /// Judges a stream that is open again, by everything but the hook.
    ///
    /// # Errors
    /// Why it has to end.
    pub(crate) fn reauthorize(
        &self,
        identity: &Identity,
        subscriptions: &[Subscription],
    ) -> Result<(), EndReason> {
        let Some(rules) = self.policy() else { return Ok(()) };
        rules.check(&identity.basis, &self.revocations, self.now()).map_err(|credential_error| {
            match credential_error {
                CredentialError::Expired => EndReason::TokenExpired,
                CredentialError::Session => EndReason::SessionEnded,
                _ => EndReason::Revoked,
            }
        })?;
        let permissions = rules.permissions(&identity.basis);
        let keeps = subscriptions.iter().all(|held| permissions.subscribe.covers(held));
        if keeps { Ok(()) } else { Err(EndReason::Revoked) }
    }

    /// As [`Authorizer::review`], for a stream that was being opened meanwhile: free where nothing has changed.
    pub(crate) fn reauthorize_new(
        &self,
        identity: &Identity,
        subscriptions: &[Subscription],
    ) -> Result<(), EndReason> {
        let has_changed = *self.changes.borrow() != identity.admitted_at;
        if has_changed { self.reauthorize(identity, subscriptions) } else { Ok(()) }
    }

    /// Asks the hook about a stream that is open; no answer keeps it.
    pub(crate) async fn is_refused_by_hook(
        &self,
        identity: &Identity,
        subscriptions: &[Subscription],
    ) -> bool {
        let rules = self.policy();
        let Some(hook) = self.hook(rules.as_deref()) else { return false };
        let SubjectOwned::As(principal) = identity.subject() else { return false };
        for subscription in subscriptions {
            let access_request = access_request(principal.clone(), Action::Subscribe, subscription);
            if hook.recheck(&access_request).await == Some(false) {
                debug!(principal = ?identity.principal, channel = %subscription, "hook ends a stream");
                return true;
            }
        }
        false
    }

    /// How long until the caller's credentials end.
    pub(crate) fn time_left(&self, identity: &Identity) -> Option<Duration> {
        let leeway = self.settings().map(|auth| auth.leeway).unwrap_or_default();
        identity.expires_at().map(|at| until(at + leeway.as_secs_f64(), (self.clock)()))
    }

    /// When the caller's credentials end, in milliseconds since 1970; none where they have no end.
    pub(crate) fn expires_at(&self, identity: &Identity) -> Option<u64> {
        identity.expires_at().map(|seconds| (seconds * 1000.0) as u64)
    }

    /// Fails unless the caller's rights cover all of them; denied access names the first that they do not cover.
    fn check_subscribe(&self, identity: &Identity, subscriptions: &[Subscription]) -> Result<(), Error> {
        let foreign = Cell::new(0);
        let lacks = |permissions: &Permissions| {
            let at = subscriptions.iter().position(|asked| !permissions.subscribe.covers(asked))?;
            foreign.set(at);
            Some(DeniedAction::Subscribe(subscriptions[at].as_str()))
        };
        self.check(identity, lacks).map_err(|error| denied_of(error, subscriptions, foreign.get()))
    }

    /// Fails if the caller lacks a right, now: since it was admitted its body may have been long on the way.
    fn check<'a>(
        &self,
        identity: &Identity,
        lacks: impl Fn(&Permissions) -> Option<DeniedAction<'a>>,
    ) -> Result<(), Error> {
        let lacked = match self.policy() {
            None => lacks(&identity.permissions),
            Some(rules) => {
                let checked = rules.check(&identity.basis, &self.revocations, self.now());
                checked.map_err(|credential_error| self.credential_error(credential_error))?;
                let has_changed = *self.changes.borrow() != identity.admitted_at;
                let lacks_now = || has_changed.then(|| lacks(&rules.permissions(&identity.basis))).flatten();
                lacks(&identity.permissions).or_else(lacks_now)
            }
        };
        lacked.map_or(Ok(()), |wanted| Err(denied_by(DeniedBy::Pattern, identity, wanted, &self.metrics)))
    }

    /// The subscriptions without repeats, within their bound.
    fn once(&self, subscriptions: Vec<Subscription>) -> Result<Vec<Subscription>, Error> {
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

    /// Asks the hook about all of them at once; the first no, or the first that it does not answer, decides.
    async fn check_hook<'a>(
        &self,
        hook: Option<&Arc<HookClient>>,
        identity: &Identity,
        action: Action,
        subscriptions: impl IntoIterator<Item = &'a Subscription>,
    ) -> Result<(), (usize, Error)> {
        let (Some(hook), SubjectOwned::As(principal)) = (hook, identity.subject()) else { return Ok(()) };
        let answers = subscriptions.into_iter().enumerate().map(async |(at, subscription)| {
            match hook.allow(&access_request(principal.clone(), action, subscription)).await {
                Ok(true) => Ok(()),
                Ok(false) => Err((at, subscription, None)),
                Err(error) => Err((at, subscription, Some(error))),
            }
        });
        // All are asked at once, and the first refusal in their order counts.
        let answered = answers.collect::<FuturesOrdered<_>>().try_collect().await;
        answered.map_err(|(at, subscription, unanswered): (usize, &Subscription, Option<Error>)| {
            let wanted = match action {
                Action::Subscribe => DeniedAction::Subscribe(subscription.as_str()),
                Action::Publish => DeniedAction::Publish(subscription.as_str()),
            };
            (at, unanswered.unwrap_or_else(|| denied_by(DeniedBy::Hook, identity, wanted, &self.metrics)))
        })
    }

    fn hook(&self, rules: Option<&Policy>) -> Option<Arc<HookClient>> {
        self.own_hook.clone().or_else(|| rules?.hook.clone())
    }

    fn policy(&self) -> Option<Arc<Policy>> {
        let rules = self.rules.as_ref()?;
        Some(rules.read().clone())
    }

    fn changed_from(&self, before: Option<&Arc<Vec<VerificationKey>>>, jwks: &ProviderKeys) {
        let now = jwks.newest();
        let is_other = before.zip(now.as_ref()).is_some_and(|(before, now)| !Arc::ptr_eq(before, now));
        if is_other {
            self.changed();
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Seconds since 1970.
    fn now(&self) -> f64 {
        (self.clock)() as f64 / 1000.0
    }

    fn credential_error(&self, credential_error: CredentialError) -> Error {
        debug!(?credential_error, "credentials refused");
        self.metrics.auth_failed(credential_error.reason());
        credential_error.client_error()
    }
}

fn too_fast(events: u64, excess: Excess) -> Error {
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

/// Settings that were read and are not in force yet.
pub(crate) struct PreparedPolicy(Option<Arc<Policy>>);

struct SettingsOf(Arc<Policy>);

impl std::ops::Deref for SettingsOf {
    type Target = AuthSettings;

    fn deref(&self) -> &AuthSettings {
        &self.0.settings
    }
}

pub(super) fn local(basis: AuthMethod) -> Identity {
    Identity { principal: Principal::Local, permissions: Permissions::EVERYTHING, basis, admitted_at: 0 }
}

fn access_request(principal: Option<Subject>, action: Action, subscription: &Subscription) -> AccessRequest {
    AccessRequest {
        principal,
        action,
        channel: subscription.as_str().to_owned(),
        is_pattern: matches!(subscription, Subscription::Pattern(_)),
    }
}

#[cfg(test)]
mod tests;
