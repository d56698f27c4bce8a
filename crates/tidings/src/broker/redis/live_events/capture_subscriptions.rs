//! Whether a node hears all that `redis.capture` lists.

use std::collections::BTreeSet;

use super::subscriptions::{Substitutes, captured_substitutes};
use crate::{broker::redis::pubsub::PubsubTarget, config::RedisSettings};

/// What capture has to hear, and what of it is heard on this connection.
pub(super) struct CaptureSubscriptions {
    needed: Substitutes,
    active: BTreeSet<PubsubTarget>,
    /// Of what is needed, or stands for it.
    refused: BTreeSet<PubsubTarget>,
}

impl CaptureSubscriptions {
    pub(super) fn new(settings: &RedisSettings) -> Self {
        Self { needed: captured_substitutes(settings), active: BTreeSet::new(), refused: BTreeSet::new() }
    }

    /// Redis confirmed a subscription.
    pub(super) fn subscribed(&mut self, target: &PubsubTarget) {
        self.refused.remove(target);
        if self.is_needed(target) {
            self.active.insert(target.clone());
        }
    }

    /// Redis refused one.
    pub(super) fn refuse(&mut self, target: &PubsubTarget) {
        if self.is_needed(target) {
            self.refused.insert(target.clone());
        }
    }

    /// The connection is gone, and all subscriptions with it.
    pub(super) fn disconnected(&mut self) {
        self.active.clear();
        self.refused.clear();
    }

    /// What is not heard, if anything.
    pub(super) fn missing(&self) -> Option<&PubsubTarget> {
        let is_heard = |(target, substitutes): &(&PubsubTarget, &BTreeSet<PubsubTarget>)| {
            self.active.contains(target) || !substitutes.is_disjoint(&self.active)
        };
        self.needed.iter().find(|needed| !is_heard(needed)).map(|(target, _)| target)
    }

    /// What Redis refused though it is missing: it may be granted later.
    pub(super) fn refused(&self) -> Vec<PubsubTarget> {
        if self.missing().is_none() { Vec::new() } else { self.refused.iter().cloned().collect() }
    }

    fn is_needed(&self, target: &PubsubTarget) -> bool {
        self.needed.iter().any(|(it, substitutes)| it == target || substitutes.contains(target))
    }
}

#[cfg(test)]
mod tests;
