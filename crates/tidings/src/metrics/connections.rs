//! Metrics of connections and streams.

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tidings_protocol::body::EndReason;

use super::register::{ReasonCounters, UnsignedGauge, count, counter, family, gauge, wire_text};

/// Metrics of connections and streams.
pub(crate) struct ConnectionMetrics {
    pub(super) streams_open: UnsignedGauge,
    streams_opened: Counter,
    streams_ended: ReasonCounters,
    aborted: ReasonCounters,
    write_timeouts: Counter,
    socket_backpressure: Counter,
}

impl ConnectionMetrics {
    pub(super) fn new(it: &mut Registry) -> Self {
        Self {
            streams_open: gauge(it, "streams_open", "Open streams"),
            streams_opened: counter(it, "streams_opened", "Streams that were opened"),
            streams_ended: family(it, "streams_ended", "Streams ended by the hub, by reason"),
            aborted: family(
                it,
                "connections_aborted",
                "Connections closed because of their client's behaviour, by reason",
            ),
            write_timeouts: counter(it, "write_timeouts", "Connections closed because they took no bytes"),
            socket_backpressure: counter(it, "socket_backpressure", "Times a socket refused bytes"),
        }
    }

    pub(crate) fn stream_opened(&self) {
        self.streams_opened.inc();
    }

    pub(crate) fn stream_ended(&self, reason: EndReason) {
        count(&self.streams_ended, &wire_text(reason));
    }

    pub(crate) fn aborted(&self, reason: &str) {
        count(&self.aborted, reason);
    }

    pub(crate) fn write_timeout(&self) {
        self.write_timeouts.inc();
    }

    pub(crate) fn socket_backpressure(&self) {
        self.socket_backpressure.inc();
    }
}
