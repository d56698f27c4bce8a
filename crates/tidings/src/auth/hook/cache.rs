//! What the hook answered lately: bounded in number and in age.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::AccessRequest;

/// Past it the oldest answer is forgotten.
const ANSWERS_MAX: usize = 10_000;

/// Answers by question.
pub(super) struct AnswerCache {
    ttl: Duration,
    by_question: HashMap<Arc<AccessRequest>, CachedAnswer>,
    /// As they came, so in the order in which they grow old. An answer that was replaced stays until its turn.
    by_age: VecDeque<(Instant, Arc<AccessRequest>)>,
}

struct CachedAnswer {
    allowed: bool,
    at: Instant,
}

impl AnswerCache {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, by_question: HashMap::new(), by_age: VecDeque::new() }
    }

    /// The answer, if it is not older than the time that answers are kept.
    pub(super) fn fresh(&self, request: &AccessRequest, now: Instant) -> Option<bool> {
        let answer = self.by_question.get(request)?;
        (now.saturating_duration_since(answer.at) < self.ttl).then_some(answer.allowed)
    }

    pub(super) fn keep(&mut self, request: &Arc<AccessRequest>, allowed: bool, at: Instant) {
        while self.by_age.front().is_some_and(|(oldest, _)| {
            self.by_age.len() >= ANSWERS_MAX || at.saturating_duration_since(*oldest) >= self.ttl
        }) {
            self.forget_oldest();
        }
        if !self.ttl.is_zero() {
            self.by_question.insert(request.clone(), CachedAnswer { allowed, at });
            self.by_age.push_back((at, request.clone()));
        }
    }

    fn forget_oldest(&mut self) {
        let Some((at, request)) = self.by_age.pop_front() else { return };
        if self.by_question.get(&request).is_some_and(|answer| answer.at == at) {
            self.by_question.remove(&request);
        }
    }
}

#[cfg(test)]
mod tests;
