//! Metrics of authentication and authorization.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::register::{ReasonCounters, count, counter, family};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeniedByLabel {
    by: &'static str,
}

/// Metrics of `auth`.
pub(crate) struct AuthMetrics {
    failures: ReasonCounters,
    denials: Family<DeniedByLabel, Counter>,
    hook_requests: Counter,
    hook_failures: Counter,
    jwks_fetches: Counter,
    jwks_failures: Counter,
}

impl AuthMetrics {
    pub(super) fn new(it: &mut Registry) -> Self {
        Self {
            failures: family(it, "auth_failures", "Refused credentials, by reason"),
            denials: family(
                it,
                "access_denied",
                "Channels refused to a client with credentials, by the rule that refused them: pattern or hook",
            ),
            hook_requests: counter(it, "hook_requests", "Calls of the hook, without cached answers"),
            hook_failures: counter(it, "hook_failures", "Calls of the hook without an answer"),
            jwks_fetches: counter(it, "jwks_fetches", "Fetches of auth.jwks_url"),
            jwks_failures: counter(it, "jwks_failures", "Fetches of auth.jwks_url without keys"),
        }
    }

    pub(crate) fn failed(&self, reason: &str) {
        count(&self.failures, reason);
    }

    pub(crate) fn denied(&self, by: &'static str) {
        self.denials.get_or_create(&DeniedByLabel { by }).inc();
    }

    pub(crate) fn hook_request(&self) {
        self.hook_requests.inc();
    }

    pub(crate) fn hook_failure(&self) {
        self.hook_failures.inc();
    }

    pub(crate) fn jwks_fetch(&self) {
        self.jwks_fetches.inc();
    }

    pub(crate) fn jwks_failure(&self) {
        self.jwks_failures.inc();
    }
}
