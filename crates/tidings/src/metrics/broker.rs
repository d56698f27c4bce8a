//! Metrics of a log that Redis keeps.

use std::{sync::atomic::Ordering, time::Duration};

use prometheus_client::{metrics::counter::Counter, registry::Registry};

use super::{
    histogram::Histogram,
    register::{UnsignedGauge, counter, gauge, histogram},
};

/// Metrics of a broker.
pub(crate) struct BrokerMetrics {
    disconnects: Counter,
    resyncs: Counter,
    data_losses: Counter,
    lag: UnsignedGauge,
    round_trips: Histogram,
    connections_opened: Counter,
    evicts: UnsignedGauge,
    clock_apart: UnsignedGauge,
    subscriptions_denied: Counter,
    capture_rejected: Counter,
    capture_appended: Counter,
    capture_dropped: Counter,
    mirror_denied: Counter,
}

impl BrokerMetrics {
    pub(super) fn new(it: &mut Registry) -> Self {
        Self {
            disconnects: counter(
                it,
                "broker_disconnects",
                "Times this node lost its connection to the broker",
            ),
            resyncs: counter(
                it,
                "broker_resyncs",
                "Times events came after missing ones, which were read again",
            ),
            data_losses: counter(
                it,
                "broker_data_loss",
                "Times the broker had lost events that this node had received",
            ),
            lag: gauge(
                it,
                "broker_lag",
                "Events that the broker had and this node lacked, when last compared",
            ),
            round_trips: histogram(
                it,
                "broker_roundtrip_seconds",
                "Time from sending commands to the broker until their replies were read or given up",
            ),
            connections_opened: counter(
                it,
                "broker_connections_opened",
                "Connections to the broker since the start",
            ),
            clock_apart: gauge(
                it,
                "broker_clock_apart_seconds",
                "Difference between the clock of this machine and the broker's",
            ),
            evicts: gauge(it, "broker_evicts", "1 if the broker may evict the log when it is full, else 0"),
            subscriptions_denied: counter(
                it,
                "redis_subscriptions_denied",
                "Subscriptions to a channel or pattern that the broker denied",
            ),
            capture_rejected: counter(
                it,
                "capture_rejected",
                "Messages of other programs that cannot be delivered as events",
            ),
            capture_appended: counter(
                it,
                "capture_appended",
                "Messages of other programs put into the log by this node",
            ),
            capture_dropped: counter(
                it,
                "capture_dropped",
                "Messages of redis.capture that this node received and dropped before they were in the log",
            ),
            mirror_denied: counter(it, "mirror_denied", "Mirrored events that the broker refused to publish"),
        }
    }

    /// Durations of exchanges with the broker.
    pub(crate) fn round_trips(&self) -> Histogram {
        self.round_trips.clone()
    }

    pub(crate) fn disconnected(&self) {
        self.disconnects.inc();
    }

    pub(crate) fn resynced(&self) {
        self.resyncs.inc();
    }

    pub(crate) fn data_lost(&self) {
        self.data_losses.inc();
    }

    /// Sets the lag, and raises two counters to totals that are counted elsewhere.
    pub(crate) fn compared(&self, lag: u64, connections: u64, mirror_denied: u64) {
        self.lag.set(lag);
        self.mirror_denied.inner().fetch_max(mirror_denied, Ordering::Relaxed);
        self.connections_opened.inner().fetch_max(connections, Ordering::Relaxed);
    }

    pub(crate) fn clock_apart(&self, apart: Duration) {
        self.clock_apart.set(apart.as_secs());
    }

    pub(crate) fn evicts(&self, evicts: bool) {
        self.evicts.set(u64::from(evicts));
    }

    pub(crate) fn subscription_denied(&self) {
        self.subscriptions_denied.inc();
    }

    pub(crate) fn capture_rejected(&self) {
        self.capture_rejected.inc();
    }

    pub(crate) fn capture_appended(&self, messages: usize) {
        self.capture_appended.inc_by(messages as u64);
    }

    pub(crate) fn capture_dropped(&self, messages: usize) {
        self.capture_dropped.inc_by(messages as u64);
    }
}
