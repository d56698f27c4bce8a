//! Who wants a channel: by name, and by pattern.

use std::collections::HashMap;

use tidings_protocol::{ChannelName, Pattern, Subscription};

/// Subscribers of any kind, by what they subscribe to.
pub(crate) struct SubscriptionIndex<Subscriber> {
    channels: HashMap<ChannelName, Vec<Subscriber>>,
    /// By their first segment, or by nothing where that is a wildcard: a publish looks at two groups only.
    patterns: HashMap<String, HashMap<Pattern, Vec<Subscriber>>>,
}

impl<Subscriber> Default for SubscriptionIndex<Subscriber> {
    fn default() -> Self {
        Self { channels: HashMap::new(), patterns: HashMap::new() }
    }
}

impl<Subscriber> SubscriptionIndex<Subscriber> {
    /// Acts on everyone who wants a channel; on some more than once, where several subscriptions match.
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

    /// Everyone, by subscription.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &[Subscriber])> {
        let channels = self.channels.iter().map(|(name, of)| (name.as_str(), &of[..]));
        let patterns = self.patterns.values().flatten();
        channels.chain(patterns.map(|(pattern, of)| (pattern.as_str(), &of[..])))
    }

    /// Whether anybody has this subscription.
    pub(crate) fn has(&self, subscription: &Subscription) -> bool {
        match subscription {
            Subscription::Channel(name) => self.channels.contains_key(name),
            Subscription::Pattern(pattern) => {
                self.patterns.get(group(pattern)).is_some_and(|patterns| patterns.contains_key(pattern))
            }
        }
    }

    /// Adds a subscriber; answers whether it is the first of this subscription.
    pub(crate) fn add(&mut self, subscription: &Subscription, subscriber: Subscriber) -> bool {
        let of = self.entry_mut(subscription);
        of.push(subscriber);
        of.len() == 1
    }

    /// Takes one subscriber out; answers whether it was the last of this subscription.
    pub(crate) fn remove(
        &mut self,
        subscription: &Subscription,
        is_it: impl Fn(&Subscriber) -> bool,
    ) -> bool {
        let of = self.entry_mut(subscription);
        if let Some(at) = of.iter().position(is_it) {
            of.swap_remove(at);
        }
        let is_over = of.is_empty();
        if is_over {
            self.forget(subscription);
        }
        is_over
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
