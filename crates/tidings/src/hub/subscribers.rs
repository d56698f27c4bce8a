//! The open connections of a node, and their subscriptions.
//!
//! A new entry wakes polling connections, which read the log themselves, and the shards, which push to their connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidings_log::{Entry, Log, TransientEvent};
use tidings_protocol::{ChannelName, Subscription};
use tidings_sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

use crate::broker::{DeliverySink, InterestChange};
use crate::connection::{
    Connection, ConnectionHandle, LogObserver, StreamOptions, SubscriptionIndex, Unregister,
};
use crate::limits::ConnectionPermit;
use crate::metrics::Metrics;
use crate::{deferred_wake, lock};

/// All open connections of a node, by subscription.
pub(crate) struct Subscribers {
    registry: RwLock<Registry>,
    shards: RwLock<Vec<Arc<dyn LogObserver>>>,
    /// Counts the changes of the set of subscriptions.
    interest: watch::Sender<u64>,
    interest_changes: Mutex<InterestChanges>,
}

/// Subscriptions that got their first subscriber or lost their last, until the broker takes them.
#[derive(Default)]
struct InterestChanges {
    subscriptions: Vec<Subscription>,
    /// Whether `subscriptions` has all changes since the broker took them.
    is_complete: bool,
}

/// Number of changes above which the broker gets all subscriptions instead.
const INTEREST_CHANGES_MAX: usize = 10_000;

#[derive(Default)]
struct Registry {
    /// Connections that are woken for each entry.
    polling: SubscriptionIndex<Arc<ConnectionHandle>>,
    /// Connections of shards.
    pushed: SubscriptionIndex<Arc<ConnectionHandle>>,
    count: usize,
}

impl Default for Subscribers {
    fn default() -> Self {
        Self {
            registry: RwLock::new(&lock::SUBSCRIBERS, Registry::default()),
            shards: RwLock::new(&lock::SHARDS, Vec::new()),
            interest: watch::Sender::default(),
            interest_changes: Mutex::new(&lock::INTEREST_CHANGES, InterestChanges::default()),
        }
    }
}

impl Subscribers {
    /// Opens a connection. From here on it is woken for its entries, or its shard pushes them.
    pub(crate) fn open_connection(
        self: &Arc<Self>,
        log: &Arc<Log>,
        metrics: &Arc<Metrics>,
        permit: ConnectionPermit,
        handle: Arc<ConnectionHandle>,
        options: &StreamOptions,
    ) -> Connection {
        self.register(&handle);
        Connection::open(log.clone(), self.clone(), metrics.clone(), permit, handle, options)
    }

    /// Adds a shard, which is notified of each append from now on.
    pub(crate) fn add_shard(&self, shard: Arc<dyn LogObserver>) {
        self.shards.write().push(shard);
    }

    fn register(&self, handle: &Arc<ConnectionHandle>) {
        let mut registry = self.registry_mut();
        registry.count += 1;
        let subscriptions = handle.subscriptions();
        let new: Vec<_> =
            subscriptions.iter().filter(|it| registry.index_mut(handle).add(it, handle.clone())).collect();
        drop(registry);
        self.notify_interest(&new);
    }

    /// Notifies the broker of changed subscriptions.
    fn notify_interest(&self, changed: &[&Subscription]) {
        if changed.is_empty() || self.interest.receiver_count() == 0 {
            return;
        }
        let mut changes = self.interest_changes();
        if changes.subscriptions.len() + changed.len() > INTEREST_CHANGES_MAX {
            *changes = InterestChanges::default();
        } else if changes.is_complete {
            changes.subscriptions.extend(changed.iter().copied().cloned());
        }
        drop(changes);
        self.interest.send_modify(|changes| *changes += 1);
    }

    /// Returns the number of open connections.
    pub(crate) fn count(&self) -> usize {
        self.registry().count
    }

    /// Returns all connections.
    pub(crate) fn all(&self) -> Vec<Arc<ConnectionHandle>> {
        let registry = self.registry();
        let mut all: BTreeMap<_, Arc<ConnectionHandle>> = BTreeMap::new();
        for handle in registry.all().flat_map(|(_, of)| of) {
            all.entry(handle.id()).or_insert_with(|| handle.clone());
        }
        all.into_values().collect()
    }

    /// Returns the number of connections of each subscription, of those for which `counts` is true.
    pub(crate) fn subscriptions(
        &self,
        counts: &dyn Fn(&ConnectionHandle) -> bool,
    ) -> BTreeMap<String, usize> {
        let mut numbers = BTreeMap::new();
        for (name, of) in self.registry().all() {
            let number = of.iter().filter(|handle| counts(handle)).count();
            if number > 0 {
                *numbers.entry(name.to_owned()).or_default() += number;
            }
        }
        numbers
    }

    fn interest_changes(&self) -> MutexGuard<'_, InterestChanges> {
        self.interest_changes.lock()
    }

    fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read()
    }

    fn registry_mut(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry.write()
    }
}

impl Unregister for Subscribers {
    fn unregister(&self, handle: &Arc<ConnectionHandle>) {
        let mut registry = self.registry_mut();
        registry.count -= 1;
        let subscriptions = handle.subscriptions();
        let is_same = |other: &Arc<ConnectionHandle>| Arc::ptr_eq(other, handle);
        let over: Vec<_> =
            subscriptions.iter().filter(|it| registry.index_mut(handle).remove(it, is_same)).collect();
        drop(registry);
        self.notify_interest(&over);
    }
}

impl DeliverySink for Subscribers {
    fn on_appended(&self, entries: &[Arc<Entry>]) {
        // Wakers run after the registry is unlocked.
        deferred_wake::batch_wakes(|| {
            self.shards.read().iter().for_each(|shard| shard.clone().on_append());
            // A batch of one busy channel wakes its connections once.
            let channels: BTreeSet<&ChannelName> = entries.iter().flat_map(|entry| &entry.channels).collect();
            let registry = self.registry();
            for channel in channels {
                registry.polling.for_each_match(channel, &mut |handle| handle.wake());
            }
        });
    }

    fn deliver_transient(&self, channels: &[ChannelName], transient: &TransientEvent) -> usize {
        let mut found: BTreeMap<_, Arc<ConnectionHandle>> = BTreeMap::new();
        let registry = self.registry();
        for channel in channels {
            registry.for_each_match(channel, &mut |handle| {
                found.entry(handle.id()).or_insert_with(|| handle.clone());
            });
        }
        drop(registry);
        found.values().filter(|handle| !handle.push_transient(transient)).count()
    }

    fn wake(&self, channels: &[ChannelName]) {
        deferred_wake::batch_wakes(|| {
            let registry = self.registry();
            for channel in channels {
                registry.for_each_match(channel, &mut |handle| handle.wake());
            }
        });
    }

    fn wake_all(&self) {
        self.all().iter().for_each(|handle| handle.wake());
    }

    fn take_interest_changes(&self) -> InterestChange {
        let empty = InterestChanges { subscriptions: Vec::new(), is_complete: true };
        let changes = std::mem::replace(&mut *self.interest_changes(), empty);
        // Changes from here on are returned by the next call, too.
        let registry = self.registry();
        if changes.is_complete {
            let with_interest = |it: Subscription| {
                let is_wanted = registry.has(&it);
                (it, is_wanted)
            };
            return InterestChange::Changes(changes.subscriptions.into_iter().map(with_interest).collect());
        }
        let names: BTreeSet<&str> = registry.all().map(|(name, _)| name).collect();
        let parse = |name: &str| Subscription::parse(name).expect("subscriptions are valid");
        InterestChange::All(names.into_iter().map(parse).collect())
    }

    fn interest(&self) -> watch::Receiver<u64> {
        self.interest.subscribe()
    }
}

impl Registry {
    fn has(&self, subscription: &Subscription) -> bool {
        self.polling.has(subscription) || self.pushed.has(subscription)
    }

    fn for_each_match(&self, channel: &ChannelName, act: &mut dyn FnMut(&Arc<ConnectionHandle>)) {
        self.polling.for_each_match(channel, act);
        self.pushed.for_each_match(channel, act);
    }

    fn all(&self) -> impl Iterator<Item = (&str, &[Arc<ConnectionHandle>])> {
        self.polling.all().chain(self.pushed.all())
    }

    fn index_mut(&mut self, handle: &ConnectionHandle) -> &mut SubscriptionIndex<Arc<ConnectionHandle>> {
        if handle.is_pushed() { &mut self.pushed } else { &mut self.polling }
    }
}

#[cfg(test)]
mod tests;
