//! An index of subscribers by channel name and by pattern.

use std::collections::HashMap;

use tidings_protocol::{ChannelName, Pattern, Subscription};

/// Subscribers of any type, by subscription.
pub(crate) struct SubscriptionIndex<Subscriber> {
    channels: HashMap<ChannelName, Vec<Subscriber>>,
    /// By the pattern's first segment, or by `""` if it is a wildcard: a lookup reads two groups only.
    patterns: HashMap<String, HashMap<Pattern, Vec<Subscriber>>>,
}

impl<Subscriber> Default for SubscriptionIndex<Subscriber> {
    fn default() -> Self {
        Self { channels: HashMap::new(), patterns: HashMap::new() }
    }
}

impl<Subscriber> SubscriptionIndex<Subscriber> {
    /// Calls `act` for each subscription that matches a channel. A subscriber may have several.
    pub(crate) fn for_each_match(&self, channel: &ChannelName, act: &mut dyn FnMut(&Subscriber)) {
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

    /// Returns all subscriptions with their subscribers.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &[Subscriber])> {
        let channels = self.channels.iter().map(|(name, of)| (name.as_str(), &of[..]));
        let patterns = self.patterns.values().flatten();
        channels.chain(patterns.map(|(pattern, of)| (pattern.as_str(), &of[..])))
    }

    /// Whether the subscription has a subscriber.
    pub(crate) fn has(&self, subscription: &Subscription) -> bool {
        match subscription {
            Subscription::Channel(name) => self.channels.contains_key(name),
            Subscription::Pattern(pattern) => {
                self.patterns.get(group(pattern)).is_some_and(|patterns| patterns.contains_key(pattern))
            }
        }
    }

    /// Adds a subscriber; returns whether it is the first of the subscription.
    pub(crate) fn add(&mut self, subscription: &Subscription, subscriber: Subscriber) -> bool {
        let of = self.entry_mut(subscription);
        of.push(subscriber);
        of.len() == 1
    }

    /// Removes one subscriber; returns whether it was the last of the subscription.
    pub(crate) fn remove(
        &mut self,
        subscription: &Subscription,
        is_same: impl Fn(&Subscriber) -> bool,
    ) -> bool {
        let of = self.entry_mut(subscription);
        if let Some(at) = of.iter().position(is_same) {
            of.swap_remove(at);
        }
        let is_empty = of.is_empty();
        if is_empty {
            self.forget(subscription);
        }
        is_empty
    }

    fn entry_mut(&mut self, subscription: &Subscription) -> &mut Vec<Subscriber> {
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
