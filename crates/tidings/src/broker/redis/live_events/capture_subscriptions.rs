//! Subscriptions that `redis.capture` needs, and those that Redis confirmed.

use std::collections::BTreeSet;

use tidings_redis::PubsubTarget;

use super::subscriptions::{Substitutes, captured_substitutes};
use crate::config::RedisSettings;

/// Targets that capture needs, and their state on this connection.
pub(super) struct CaptureSubscriptions {
    needed: Substitutes,
    active: BTreeSet<PubsubTarget>,
    /// Refused targets that are needed or are substitutes.
    refused: BTreeSet<PubsubTarget>,
}

impl CaptureSubscriptions {
    pub(super) fn new(settings: &RedisSettings) -> Self {
        Self { needed: captured_substitutes(settings), active: BTreeSet::new(), refused: BTreeSet::new() }
    }

    pub(super) fn subscribed(&mut self, target: &PubsubTarget) {
        self.refused.remove(target);
        if self.is_needed(target) {
            self.active.insert(target.clone());
        }
    }

    pub(super) fn refuse(&mut self, target: &PubsubTarget) {
        if self.is_needed(target) {
            self.refused.insert(target.clone());
        }
    }

    /// Notes the end of the connection and of its subscriptions.
    pub(super) fn disconnected(&mut self) {
        self.active.clear();
        self.refused.clear();
    }

    /// Returns a target that the node receives no messages of.
    pub(super) fn missing(&self) -> Option<&PubsubTarget> {
        let is_heard = |(target, substitutes): &(&PubsubTarget, &BTreeSet<PubsubTarget>)| {
            self.active.contains(target) || !substitutes.is_disjoint(&self.active)
        };
        self.needed.iter().find(|needed| !is_heard(needed)).map(|(target, _)| target)
    }

    /// Returns the refused targets while one is missing; Redis may accept them later.
    pub(super) fn refused(&self) -> Vec<PubsubTarget> {
        if self.missing().is_none() { Vec::new() } else { self.refused.iter().cloned().collect() }
    }

    fn is_needed(&self, target: &PubsubTarget) -> bool {
        self.needed.iter().any(|(it, substitutes)| it == target || substitutes.contains(target))
    }
}

#[cfg(test)]
mod tests;
