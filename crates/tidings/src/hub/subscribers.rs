//! Which connections want an entry. Some are woken and read the log themselves; those of a shard are fed by it, and the
//! shards are told that there is something new.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tidings_protocol::{ChannelName, Subscription};
use tokio::sync::watch;

use crate::{
    broker::{DeliverySink, InterestChange},
    connection::{Connection, ConnectionHandle, LogObserver, StreamOptions, SubscriptionIndex, Unregister},
    deferred_wake,
    limits::ConnectionPermit,
    log::{
        Log,
        entry::{Entry, TransientEvent},
    },
    metrics::Metrics,
    sync::{Lock, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// All open connections of a node, by what they subscribe to.
pub(crate) struct Subscribers {
    registry: RwLock<Registry>,
    shards: RwLock<Vec<Arc<dyn LogObserver>>>,
    /// Counts the times that somebody came whose subscriptions nobody had, or went and left none with them.
    interest: watch::Sender<u64>,
    interest_changes: Mutex<InterestChanges>,
}

/// Subscriptions whose first has come or whose last has gone, until somebody asks for them.
#[derive(Default)]
struct InterestChanges {
    subscriptions: Vec<Subscription>,
    /// Whether these are all since somebody asked.
    is_whole: bool,
}

/// Past so many it is no longer worth to tell them one by one.
const INTEREST_CHANGES_MAX: usize = 10_000;

#[derive(Default)]
struct Registry {
    /// Those that are woken for each entry.
    polling: SubscriptionIndex<Arc<ConnectionHandle>>,
    /// Those that a shard feeds.
    pushed: SubscriptionIndex<Arc<ConnectionHandle>>,
    count: usize,
}

impl Default for Subscribers {
    fn default() -> Self {
        Self {
            registry: RwLock::new(Lock::Subscribers, Registry::default()),
            shards: RwLock::new(Lock::Shards, Vec::new()),
            interest: watch::Sender::default(),
            interest_changes: Mutex::new(Lock::InterestChanges, InterestChanges::default()),
        }
    }
}

impl Subscribers {
    /// Opens a connection: from here on it is woken for what it wants, or fed.
    pub(crate) fn open_connection(
        self: &Arc<Self>,
        log: &Arc<Log>,
        metrics: &Arc<Metrics>,
        slot: ConnectionPermit,
        handle: Arc<ConnectionHandle>,
        options: &StreamOptions,
    ) -> Connection {
        self.register(&handle);
        Connection::open(log.clone(), self.clone(), metrics.clone(), slot, handle, options)
    }

    /// Tells a shard of what is stored from now on.
    pub(crate) fn add_shard(&self, shard: Arc<dyn LogObserver>) {
        self.shards.write().push(shard);
    }

    fn register(&self, handle: &Arc<ConnectionHandle>) {
        let mut lists = self.registry_mut();
        lists.count += 1;
        let subscriptions = handle.subscriptions();
        let new: Vec<_> =
            subscriptions.iter().filter(|it| lists.index_mut(handle).add(it, handle.clone())).collect();
        drop(lists);
        self.notify_interest(&new);
    }

    /// Tells whoever wants to know what is wanted.
    fn notify_interest(&self, changed: &[&Subscription]) {
        if changed.is_empty() || self.interest.receiver_count() == 0 {
            return;
        }
        let mut changes = self.interest_changes();
        if changes.subscriptions.len() + changed.len() > INTEREST_CHANGES_MAX {
            *changes = InterestChanges::default();
        } else if changes.is_whole {
            changes.subscriptions.extend(changed.iter().copied().cloned());
        }
        drop(changes);
        self.interest.send_modify(|changes| *changes += 1);
    }

    /// How many connections are open.
    pub(crate) fn count(&self) -> usize {
        self.registry().count
    }

    /// Every connection, for what concerns them all.
    pub(crate) fn all(&self) -> Vec<Arc<ConnectionHandle>> {
        let lists = self.registry();
        let mut all: BTreeMap<_, Arc<ConnectionHandle>> = BTreeMap::new();
        for handle in lists.all().flat_map(|(_, of)| of) {
            all.entry(handle.id()).or_insert_with(|| handle.clone());
        }
        all.into_values().collect()
    }

    /// How many of the connections that count each subscription has, by name.
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
        let mut lists = self.registry_mut();
        lists.count -= 1;
        let subscriptions = handle.subscriptions();
        let is_it = |other: &Arc<ConnectionHandle>| Arc::ptr_eq(other, handle);
        let over: Vec<_> =
            subscriptions.iter().filter(|it| lists.index_mut(handle).remove(it, is_it)).collect();
        drop(lists);
        self.notify_interest(&over);
    }
}

impl DeliverySink for Subscribers {
    fn on_appended(&self, entries: &[Arc<Entry>]) {
        // Wakers run once the lists are free again.
        deferred_wake::batch_wakes(|| {
            self.shards.read().iter().for_each(|shard| shard.clone().on_append());
            // A batch of one busy channel wakes its connections once.
            let channels: BTreeSet<&ChannelName> = entries.iter().flat_map(|entry| &entry.channels).collect();
            let lists = self.registry();
            for channel in channels {
                lists.polling.for_each_match(channel, &mut |handle| handle.wake());
            }
        });
    }

    fn deliver_transient(&self, channels: &[ChannelName], transient: &TransientEvent) -> usize {
        let mut found: BTreeMap<_, Arc<ConnectionHandle>> = BTreeMap::new();
        let lists = self.registry();
        for channel in channels {
            lists.for_each_match(channel, &mut |handle| {
                found.entry(handle.id()).or_insert_with(|| handle.clone());
            });
        }
        drop(lists);
        found.values().filter(|handle| !handle.push_transient(transient)).count()
    }

    fn wake(&self, channels: &[ChannelName]) {
        deferred_wake::batch_wakes(|| {
            let lists = self.registry();
            for channel in channels {
                lists.for_each_match(channel, &mut |handle| handle.wake());
            }
        });
    }

    fn wake_all(&self) {
        self.all().iter().for_each(|handle| handle.wake());
    }

    fn take_interest_changes(&self) -> InterestChange {
        let whole = InterestChanges { subscriptions: Vec::new(), is_whole: true };
        let changes = std::mem::replace(&mut *self.interest_changes(), whole);
        // What changes from here on is told the next time, too.
        let lists = self.registry();
        if changes.is_whole {
            let with_want = |it: Subscription| {
                let is_wanted = lists.has(&it);
                (it, is_wanted)
            };
            return InterestChange::Changes(changes.subscriptions.into_iter().map(with_want).collect());
        }
        let names: BTreeSet<&str> = lists.all().map(|(name, _)| name).collect();
        let parse = |name: &str| Subscription::parse(name).expect("it was asked for");
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
