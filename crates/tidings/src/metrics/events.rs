//! Metrics of events: stored, delivered, or dropped for a reason.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tidings_protocol::body::GapReason;
use tidings_sync::Histogram;

use super::register::{LabelledCounters, count, metric_group};

metric_group! {
    /// Metrics of events.
    EventMetrics {
        stored: Counter = "events_stored", "Events appended to the log";
        transient: Counter = "transient_events", "Events published with store=false";
        transient_dropped: Counter = "transient_events_dropped",
            "Transient events dropped for a connection that is behind";
        delivered: Counter = "events_delivered", "Stored events handed to connections";
        expired: Counter = "events_expired", "Events not delivered because their ttl was over";
        superseded: Counter = "events_superseded",
            "Pending events replaced by a newer event of their key";
        skipped_low: Counter = "events_skipped", "Low events skipped for a connection that is behind";
        gaps: LabelledCounters = "gaps", "Gaps reported to clients, by reason";
        delivery_lag: Histogram = "delivery_lag_seconds",
            "Time from an event's publishedAt until it was written to streams that wait for it";
    }
}

impl EventMetrics {
    pub(crate) fn stored(&self, events: usize) {
        self.stored.inc_by(events as u64);
    }

    /// Counts a transient event, which `dropped` connections did not get.
    pub(crate) fn transient(&self, dropped: usize) {
        self.transient.inc();
        self.transient_dropped(dropped);
    }

    pub(crate) fn transient_dropped(&self, connections: usize) {
        self.transient_dropped.inc_by(connections as u64);
    }

    pub(crate) fn delivered(&self, events: usize) {
        self.delivered.inc_by(events as u64);
    }

    pub(crate) fn gap(&self, reason: GapReason) {
        count(&self.gaps, "reason", reason.as_str());
    }

    /// Counts an event of this age, in milliseconds, that is written to streams that wait for it.
    pub(crate) fn delivery_lag(&self, millis: u64) {
        self.delivery_lag.observe(Duration::from_millis(millis));
    }
}
