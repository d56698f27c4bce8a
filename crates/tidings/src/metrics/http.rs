//! Metrics of HTTP requests, and of panics.

use prometheus_client::metrics::counter::Counter;
use tidings_protocol::Code;

use super::register::{LabelledCounters, count, metric_group};

metric_group! {
    /// Metrics of requests.
    HttpMetrics {
        errors: LabelledCounters = "http_errors", "Requests answered with a problem document, by its code";
        limits_refused: LabelledCounters = "limit_refused", "Requests refused because of a limit, by setting";
    }
}

metric_group! {
    /// Metrics of panics.
    PanicMetrics {
        threads: LabelledCounters = "thread_panics",
            "Threads and tasks that panicked, or ended before the hub, by name";
        requests: Counter = "request_panics", "Requests and reads of the log that panicked";
    }
}

impl HttpMetrics {
    pub(crate) fn error(&self, code: Code) {
        count(&self.errors, "code", code.as_str());
    }

    pub(crate) fn limit_refused(&self, limit: &str) {
        count(&self.limits_refused, "limit", limit);
    }
}

impl PanicMetrics {
    pub(crate) fn thread(&self, name: &str) {
        count(&self.threads, "thread", name);
    }
}
