//! Metrics of HTTP requests, and of panics.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tidings_protocol::Code;

use super::register::{counter, family};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ThreadLabel {
    thread: String,
}

/// Metrics of requests.
pub(crate) struct HttpMetrics {
    errors: Family<CodeLabel, Counter>,
    limits_refused: Family<LimitLabel, Counter>,
}

/// Metrics of panics.
pub(crate) struct PanicMetrics {
    threads: Family<ThreadLabel, Counter>,
    requests: Counter,
}

impl HttpMetrics {
    pub(super) fn new(it: &mut Registry) -> Self {
        Self {
            errors: family(it, "http_errors", "Requests answered with a problem document, by its code"),
            limits_refused: family(it, "limit_refused", "Requests refused because of a limit, by setting"),
        }
    }

    pub(crate) fn error(&self, code: Code) {
        self.errors.get_or_create(&CodeLabel { code: code.to_string() }).inc();
    }

    pub(crate) fn limit_refused(&self, limit: &str) {
        self.limits_refused.get_or_create(&LimitLabel { limit: limit.to_owned() }).inc();
    }
}

impl PanicMetrics {
    pub(super) fn new(it: &mut Registry) -> Self {
        Self {
            threads: family(
                it,
                "thread_panics",
                "Threads and tasks that panicked, or ended before the hub, by name",
            ),
            requests: counter(it, "request_panics", "Requests and reads of the log that panicked"),
        }
    }

    pub(crate) fn thread(&self, name: &str) {
        self.threads.get_or_create(&ThreadLabel { thread: name.to_owned() }).inc();
    }

    pub(crate) fn request(&self) {
        self.requests.inc();
    }
}
