//! Metrics of authentication and authorization.

use prometheus_client::metrics::counter::Counter;

use super::register::{LabelledCounters, count, metric_group};

metric_group! {
    /// Metrics of `auth`.
    AuthMetrics {
        failures: LabelledCounters = "auth_failures", "Refused credentials, by reason";
        denials: LabelledCounters = "access_denied",
            "Channels refused to a client with credentials, by the rule that refused them: pattern or hook";
        hook_requests: Counter = "hook_requests", "Calls of the hook, without cached answers";
        hook_failures: Counter = "hook_failures", "Calls of the hook without an answer";
        jwks_fetches: Counter = "jwks_fetches", "Fetches of auth.jwks_url";
        jwks_failures: Counter = "jwks_failures", "Fetches of auth.jwks_url without keys";
    }
}

impl AuthMetrics {
    pub(crate) fn failed(&self, reason: &str) {
        count(&self.failures, "reason", reason);
    }

    pub(crate) fn denied(&self, by: &str) {
        count(&self.denials, "by", by);
    }
}
