//! Metrics of connections and streams.

use prometheus_client::metrics::counter::Counter;
use tidings_protocol::body::EndReason;

use super::register::{LabelledCounters, UnsignedGauge, count, metric_group};

metric_group! {
    /// Metrics of connections and streams.
    ConnectionMetrics {
        streams_open: UnsignedGauge = "streams_open", "Open streams";
        streams_opened: Counter = "streams_opened", "Streams that were opened";
        streams_ended: LabelledCounters = "streams_ended", "Streams ended by the hub, by reason";
        aborted: LabelledCounters = "connections_aborted",
            "Connections closed because of their client's behaviour, by reason";
        write_timeouts: Counter = "write_timeouts", "Connections closed because they took no bytes";
        socket_backpressure: Counter = "socket_backpressure", "Times a socket refused bytes";
    }
}

impl ConnectionMetrics {
    pub(crate) fn stream_ended(&self, reason: EndReason) {
        count(&self.streams_ended, "reason", reason.as_str());
    }

    pub(crate) fn aborted(&self, reason: &str) {
        count(&self.aborted, "reason", reason);
    }
}
