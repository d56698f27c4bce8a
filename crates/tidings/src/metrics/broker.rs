//! Metrics of a log that Redis keeps.

use std::{sync::atomic::Ordering, time::Duration};

use prometheus_client::metrics::counter::Counter;
use tidings_sync::Histogram;

use super::register::{UnsignedGauge, metric_group};

metric_group! {
    /// Metrics of a broker.
    BrokerMetrics {
        disconnects: Counter = "broker_disconnects", "Times this node lost its connection to the broker";
        resyncs: Counter = "broker_resyncs", "Times events came after missing ones, which were read again";
        data_losses: Counter = "broker_data_loss",
            "Times the broker had lost events that this node had received";
        lag: UnsignedGauge = "broker_lag",
            "Events that the broker had and this node lacked, when last compared";
        round_trips: Histogram = "broker_roundtrip_seconds",
            "Time from sending commands to the broker until their replies were read or given up";
        connections_opened: Counter = "broker_connections_opened",
            "Connections to the broker since the start";
        clock_apart: UnsignedGauge = "broker_clock_apart_seconds",
            "Difference between the clock of this machine and the broker's";
        evicts: UnsignedGauge = "broker_evicts",
            "1 if the broker may evict the log when it is full, else 0";
        subscriptions_denied: Counter = "redis_subscriptions_denied",
            "Subscriptions to a channel or pattern that the broker denied";
        capture_rejected: Counter = "capture_rejected",
            "Messages of other programs that cannot be delivered as events";
        capture_appended: Counter = "capture_appended",
            "Messages of other programs put into the log by this node";
        capture_dropped: Counter = "capture_dropped",
            "Messages of redis.capture that this node received and dropped before they were in the log";
        mirror_denied: Counter = "mirror_denied", "Mirrored events that the broker refused to publish";
    }
}

impl BrokerMetrics {
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

    pub(crate) fn capture_appended(&self, messages: usize) {
        self.capture_appended.inc_by(messages as u64);
    }

    pub(crate) fn capture_dropped(&self, messages: usize) {
        self.capture_dropped.inc_by(messages as u64);
    }
}
