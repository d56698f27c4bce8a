//! Which connections want an entry: they are woken and read the log themselves.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tidings_protocol::{ChannelName, Pattern, Subscription};

use crate::{
    broker::Audience,
    connection::{Connection, Leave, Seat, StreamOptions},
    limits::ConnectionSlot,
    log::{
        Log,
        entry::{Entry, Unstored},
    },
    metrics::Metrics,
};

/// All open connections of a node, by what they subscribe to.
#[derive(Default)]
pub(crate) struct Seats {
    lists: RwLock<Lists>,
}

#[derive(Default)]
struct Lists {
    channels: HashMap<ChannelName, Vec<Arc<Seat>>>,
    /// By their first segment, or by nothing where that is a wildcard: a publish looks at two groups only.
    patterns: HashMap<String, HashMap<Pattern, Vec<Arc<Seat>>>>,
    count: usize,
}

impl Seats {
    /// Opens a connection: from here on it is woken for what it wants.
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

    fn seat(&self, seat: &Arc<Seat>) {
        let mut lists = self.lists_mut();
        lists.count += 1;
        for subscription in seat.subscriptions().iter() {
            lists.of_mut(subscription).push(seat.clone());
        }
    }

    /// How many connections are open.
    pub(crate) fn count(&self) -> usize {
        self.lists().count
    }

    /// Every connection, for what concerns them all.
    pub(crate) fn all(&self) -> Vec<Arc<Seat>> {
        let lists = self.lists();
        let mut all: BTreeMap<_, Arc<Seat>> = BTreeMap::new();
        let patterns = lists.patterns.values().flat_map(HashMap::values);
        for seat in lists.channels.values().chain(patterns).flatten() {
            all.entry(seat.id()).or_insert_with(|| seat.clone());
        }
        all.into_values().collect()
    }

    /// How many of the connections that count each subscription has, by name.
    pub(crate) fn subscriptions(&self, counts: &dyn Fn(&Seat) -> bool) -> BTreeMap<String, usize> {
        let lists = self.lists();
        let number = |of: &[Arc<Seat>]| of.iter().filter(|seat| counts(seat)).count();
        let channels = lists.channels.iter().map(|(name, of)| (name.to_string(), number(of)));
        let patterns = lists.patterns.values().flatten();
        let patterns = patterns.map(|(pattern, of)| (pattern.as_str().to_owned(), number(of)));
        channels.chain(patterns).filter(|(_, number)| *number > 0).collect()
    }

    fn lists(&self) -> RwLockReadGuard<'_, Lists> {
        self.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lists_mut(&self) -> RwLockWriteGuard<'_, Lists> {
        self.lists.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave for Seats {
    fn leave(&self, seat: &Arc<Seat>) {
        let mut lists = self.lists_mut();
        lists.count -= 1;
        for subscription in seat.subscriptions().iter() {
            let of = lists.of_mut(subscription);
            if let Some(at) = of.iter().position(|other| Arc::ptr_eq(other, seat)) {
                of.swap_remove(at);
            }
            if of.is_empty() {
                lists.forget(subscription);
            }
        }
    }
}

impl Audience for Seats {
    fn stored(&self, entries: &[Arc<Entry>]) {
        // A batch of one busy channel wakes its connections once.
        let channels: BTreeSet<&ChannelName> = entries.iter().flat_map(|entry| &entry.channels).collect();
        let lists = self.lists();
        for channel in channels {
            lists.each(channel, &mut |seat| seat.wake());
        }
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
        let lists = self.lists();
        for channel in channels {
            lists.each(channel, &mut |seat| seat.wake());
        }
    }
}

impl Lists {
    fn each(&self, channel: &ChannelName, act: &mut dyn FnMut(&Arc<Seat>)) {
        if let Some(of) = self.channels.get(channel) {
            of.iter().for_each(&mut *act);
        }
        if self.patterns.is_empty() {
            return;
        }
        for group in [first_segment(channel.as_str()), ""] {
            let Some(patterns) = self.patterns.get(group) else { continue };
            for (pattern, of) in patterns {
                if pattern.matches(channel.as_str()) {
                    of.iter().for_each(&mut *act);
                }
            }
        }
    }

    fn of_mut(&mut self, subscription: &Subscription) -> &mut Vec<Arc<Seat>> {
        match subscription {
            Subscription::Channel(name) => self.channels.entry(name.clone()).or_default(),
            Subscription::Pattern(pattern) => self
                .patterns
                .entry(group(pattern).to_owned())
                .or_default()
                .entry(pattern.clone())
                .or_default(),
        }
    }

    fn forget(&mut self, subscription: &Subscription) {
        match subscription {
            Subscription::Channel(name) => {
                self.channels.remove(name);
            }
            Subscription::Pattern(pattern) => {
                if let Some(patterns) = self.patterns.get_mut(group(pattern)) {
                    patterns.remove(pattern);
                    if patterns.is_empty() {
                        self.patterns.remove(group(pattern));
                    }
                }
            }
        }
    }
}

fn first_segment(name: &str) -> &str {
    name.split(['.', ':']).next().unwrap_or_default()
}

fn group(pattern: &Pattern) -> &str {
    let first = first_segment(pattern.as_str());
    if first.starts_with('*') { "" } else { first }
}

#[cfg(test)]
mod tests;
