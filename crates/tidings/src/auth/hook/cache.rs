//! Recent answers of the hook, bounded in number and in age.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::AccessRequest;

/// Answers kept at most; the oldest is evicted first.
const ANSWERS_MAX: usize = 10_000;

/// Answers by request.
pub(super) struct AnswerCache {
    ttl: Duration,
    by_request: HashMap<Arc<AccessRequest>, CachedAnswer>,
    /// Oldest answer first. A replaced answer stays listed until it is the oldest.
    by_age: VecDeque<(Instant, Arc<AccessRequest>)>,
}

struct CachedAnswer {
    allowed: bool,
    at: Instant,
}

impl AnswerCache {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, by_request: HashMap::new(), by_age: VecDeque::new() }
    }

    /// Returns the answer, unless it is older than the TTL.
    pub(super) fn fresh(&self, request: &AccessRequest, now: Instant) -> Option<bool> {
        let answer = self.by_request.get(request)?;
        (now.saturating_duration_since(answer.at) < self.ttl).then_some(answer.allowed)
    }

    pub(super) fn insert(&mut self, request: &Arc<AccessRequest>, allowed: bool, at: Instant) {
        while self.by_age.front().is_some_and(|(oldest, _)| {
            self.by_age.len() >= ANSWERS_MAX || at.saturating_duration_since(*oldest) >= self.ttl
        }) {
            self.evict_oldest();
        }
        if !self.ttl.is_zero() {
            self.by_request.insert(request.clone(), CachedAnswer { allowed, at });
            self.by_age.push_back((at, request.clone()));
        }
    }

    fn evict_oldest(&mut self) {
        let Some((at, request)) = self.by_age.pop_front() else { return };
        if self.by_request.get(&request).is_some_and(|answer| answer.at == at) {
            self.by_request.remove(&request);
        }
    }
}

#[cfg(test)]
mod tests;
