//! Metrics of events: stored, delivered, or dropped for a reason.

use std::time::Duration;

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tidings_protocol::body::GapReason;

use super::{
    histogram::Histogram,
    register::{ReasonCounters, count, counter, family, histogram, wire_text},
};

/// Metrics of events.
pub(crate) struct EventMetrics {
    stored: Counter,
    transient: Counter,
    transient_dropped: Counter,
    delivered: Counter,
    expired: Counter,
    superseded: Counter,
    skipped: Counter,
    gaps: ReasonCounters,
    delivery_lag: Histogram,
}

impl EventMetrics {
    pub(super) fn new(it: &mut Registry) -> Self {
        Self {
            stored: counter(it, "events_stored", "Events appended to the log"),
            transient: counter(it, "transient_events", "Events published with store=false"),
            transient_dropped: counter(
                it,
                "transient_events_dropped",
                "Transient events dropped for a connection that is behind",
            ),
            delivered: counter(it, "events_delivered", "Stored events handed to connections"),
            expired: counter(it, "events_expired", "Events not delivered because their ttl was over"),
            superseded: counter(
                it,
                "events_superseded",
                "Pending events replaced by a newer event of their key",
            ),
            skipped: counter(it, "events_skipped", "Low events skipped for a connection that is behind"),
            gaps: family(it, "gaps", "Gaps reported to clients, by reason"),
            delivery_lag: histogram(
                it,
                "delivery_lag_seconds",
                "Time from an event's publishedAt until it was written to streams that wait for it",
            ),
        }
    }

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

    pub(crate) fn expired(&self) {
        self.expired.inc();
    }

    pub(crate) fn superseded(&self) {
        self.superseded.inc();
    }

    pub(crate) fn skipped_low(&self) {
        self.skipped.inc();
    }

    pub(crate) fn gap(&self, reason: GapReason) {
        count(&self.gaps, &wire_text(reason));
    }

    /// Counts an event of this age, in milliseconds, that is written to streams that wait for it.
    pub(crate) fn delivery_lag(&self, millis: u64) {
        self.delivery_lag.observe(Duration::from_millis(millis));
    }
}
