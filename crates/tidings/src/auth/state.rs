//! The parts of an authorizer: its policy, revocations and tickets, its clock, and the counter of its changes.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use tidings_sync::RwLock;
use tokio::sync::watch;

use super::hook::HookClient;
use super::identity::{AuthMethod, Identity};
use super::policy::Policy;
use super::revocations::Revocations;
use super::revocations::replication::RevocationStore;
use super::tickets::Tickets;
use super::tickets::store::TicketStore;
use crate::config::{AuthSettings, Settings};
use crate::error::Error;
use crate::limits::RateLimiter;
use crate::lock;
use crate::metrics::Metrics;

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
    pub(super) publish_rates: RateLimiter<Arc<str>>,
    pub(super) channels_max: u64,
    pub(super) metrics: Arc<Metrics>,
    clock: Clock,
    /// Counts the changes that may take permissions from open streams.
    changes: watch::Sender<u64>,
}

struct PolicySettings(Arc<Policy>);

impl Deref for PolicySettings {
    type Target = AuthSettings;

    fn deref(&self) -> &AuthSettings {
        &self.0.settings
    }
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

    /// Returns the settings in force; `None` for an open hub.
    pub(crate) fn settings(&self) -> Option<impl Deref<Target = AuthSettings>> {
        self.policy().map(PolicySettings)
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

    pub(super) fn has_changed_since(&self, identity: &Identity) -> bool {
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
