//! Which connections want an entry. Some are woken and read the log themselves; those of a shard are fed by it, and the
//! shards are told that there is something new.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tidings_protocol::{ChannelName, Subscription};
use tokio::sync::watch;

use crate::{
    broker::{Audience, Wanted},
    connection::{Connection, Leave, Listener, Lists, Seat, StreamOptions},
    deferred_wake,
    limits::ConnectionSlot,
    log::{
        Log,
        entry::{Entry, Unstored},
    },
    metrics::Metrics,
    sync::{Lock, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// All open connections of a node, by what they subscribe to.
pub(crate) struct Seats {
    lists: RwLock<Both>,
    shards: RwLock<Vec<Arc<dyn Listener>>>,
    /// Counts the times that somebody came whose subscriptions nobody had, or went and left none with them.
    interest: watch::Sender<u64>,
    stirred: Mutex<Stirred>,
}

/// Subscriptions whose first has come or whose last has gone, until somebody asks for them.
#[derive(Default)]
struct Stirred {
    subscriptions: Vec<Subscription>,
    /// Whether these are all since somebody asked.
    is_whole: bool,
}

/// Past so many it is no longer worth to tell them one by one.
const STIRRED_MAX: usize = 10_000;

#[derive(Default)]
struct Both {
    /// Those that are woken for each entry.
    woken: Lists<Arc<Seat>>,
    /// Those that a shard feeds.
    fed: Lists<Arc<Seat>>,
    count: usize,
}

impl Default for Seats {
    fn default() -> Self {
        Self {
            lists: RwLock::new(Lock::Seats, Both::default()),
            shards: RwLock::new(Lock::Shards, Vec::new()),
            interest: watch::Sender::default(),
            stirred: Mutex::new(Lock::InterestChanges, Stirred::default()),
        }
    }
}

impl Seats {
    /// Opens a connection: from here on it is woken for what it wants, or fed.
    pub(crate) fn attach(
        self: &Arc<Self>,
        log: &Arc<Log>,
        metrics: &Arc<Metrics>,
        slot: ConnectionSlot,
        seat: Arc<Seat>,
        options: &StreamOptions,
    ) -> Connection {
        self.seat(&seat);
        Connection::open(log.clone(), self.clone(), metrics.clone(), slot, seat, options)
    }

    /// Tells a shard of what is stored from now on.
    pub(crate) fn tell(&self, shard: Arc<dyn Listener>) {
        self.shards.write().push(shard);
    }

    fn seat(&self, seat: &Arc<Seat>) {
        let mut lists = self.lists_mut();
        lists.count += 1;
        let subscriptions = seat.subscriptions();
        let new: Vec<_> =
            subscriptions.iter().filter(|it| lists.of_mut(seat).add(it, seat.clone())).collect();
        drop(lists);
        self.stir(&new);
    }

    /// Tells whoever wants to know what is wanted.
    fn stir(&self, changed: &[&Subscription]) {
        if changed.is_empty() || self.interest.receiver_count() == 0 {
            return;
        }
        let mut stirred = self.stirred();
        if stirred.subscriptions.len() + changed.len() > STIRRED_MAX {
            *stirred = Stirred::default();
        } else if stirred.is_whole {
            stirred.subscriptions.extend(changed.iter().copied().cloned());
        }
        drop(stirred);
        self.interest.send_modify(|changes| *changes += 1);
    }

    /// How many connections are open.
    pub(crate) fn count(&self) -> usize {
        self.lists().count
    }

    /// Every connection, for what concerns them all.
    pub(crate) fn all(&self) -> Vec<Arc<Seat>> {
        let lists = self.lists();
        let mut all: BTreeMap<_, Arc<Seat>> = BTreeMap::new();
        for seat in lists.all().flat_map(|(_, of)| of) {
            all.entry(seat.id()).or_insert_with(|| seat.clone());
        }
        all.into_values().collect()
    }

    /// How many of the connections that count each subscription has, by name.
    pub(crate) fn subscriptions(&self, counts: &dyn Fn(&Seat) -> bool) -> BTreeMap<String, usize> {
        let mut numbers = BTreeMap::new();
        for (name, of) in self.lists().all() {
            let number = of.iter().filter(|seat| counts(seat)).count();
            if number > 0 {
                *numbers.entry(name.to_owned()).or_default() += number;
            }
        }
        numbers
    }

    fn stirred(&self) -> MutexGuard<'_, Stirred> {
        self.stirred.lock()
    }

    fn lists(&self) -> RwLockReadGuard<'_, Both> {
        self.lists.read()
    }

    fn lists_mut(&self) -> RwLockWriteGuard<'_, Both> {
        self.lists.write()
    }
}

impl Leave for Seats {
    fn leave(&self, seat: &Arc<Seat>) {
        let mut lists = self.lists_mut();
        lists.count -= 1;
        let subscriptions = seat.subscriptions();
        let is_it = |other: &Arc<Seat>| Arc::ptr_eq(other, seat);
        let over: Vec<_> = subscriptions.iter().filter(|it| lists.of_mut(seat).remove(it, is_it)).collect();
        drop(lists);
        self.stir(&over);
    }
}

impl Audience for Seats {
    fn stored(&self, entries: &[Arc<Entry>]) {
        // Wakers run once the lists are free again.
        deferred_wake::together(|| {
            self.shards.read().iter().for_each(|shard| shard.clone().news());
            // A batch of one busy channel wakes its connections once.
            let channels: BTreeSet<&ChannelName> = entries.iter().flat_map(|entry| &entry.channels).collect();
            let lists = self.lists();
            for channel in channels {
                lists.woken.each(channel, &mut |seat| seat.wake());
            }
        });
    }

    fn unstored(&self, channels: &[ChannelName], unstored: &Unstored) -> usize {
        let mut found: BTreeMap<_, Arc<Seat>> = BTreeMap::new();
        let lists = self.lists();
        for channel in channels {
            lists.each(channel, &mut |seat| {
                found.entry(seat.id()).or_insert_with(|| seat.clone());
            });
        }
        drop(lists);
        found.values().filter(|seat| !seat.offer(unstored)).count()
    }

    fn wake(&self, channels: &[ChannelName]) {
        deferred_wake::together(|| {
            let lists = self.lists();
            for channel in channels {
                lists.each(channel, &mut |seat| seat.wake());
            }
        });
    }

    fn changed(&self) {
        self.all().iter().for_each(|seat| seat.wake());
    }

    fn wanted(&self) -> Wanted {
        let whole = Stirred { subscriptions: Vec::new(), is_whole: true };
        let stirred = std::mem::replace(&mut *self.stirred(), whole);
        // What changes from here on is told the next time, too.
        let lists = self.lists();
        if stirred.is_whole {
            let with_want = |it: Subscription| {
                let is_wanted = lists.has(&it);
                (it, is_wanted)
            };
            return Wanted::Changes(stirred.subscriptions.into_iter().map(with_want).collect());
        }
        let names: BTreeSet<&str> = lists.all().map(|(name, _)| name).collect();
        let parse = |name: &str| Subscription::parse(name).expect("it was asked for");
        Wanted::All(names.into_iter().map(parse).collect())
    }

    fn interest(&self) -> watch::Receiver<u64> {
        self.interest.subscribe()
    }
}

impl Both {
    fn has(&self, subscription: &Subscription) -> bool {
        self.woken.has(subscription) || self.fed.has(subscription)
    }

    fn each(&self, channel: &ChannelName, act: &mut dyn FnMut(&Arc<Seat>)) {
        self.woken.each(channel, act);
        self.fed.each(channel, act);
    }

    fn all(&self) -> impl Iterator<Item = (&str, &[Arc<Seat>])> {
        self.woken.all().chain(self.fed.all())
    }

    fn of_mut(&mut self, seat: &Seat) -> &mut Lists<Arc<Seat>> {
        if seat.is_fed() { &mut self.fed } else { &mut self.woken }
    }
}

#[cfg(test)]
mod tests;
