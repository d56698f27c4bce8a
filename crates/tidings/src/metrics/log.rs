//! Metrics of publishes and of the log.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

use super::{
    histogram::Histogram,
    register::{UnsignedGauge, counter, gauge, histogram},
};

/// Metrics of publishes and of the log.
pub(crate) struct LogMetrics {
    publishes: Histogram,
    publishes_refused: Counter,
    appends: Histogram,
    appends_failed: Counter,
    head: UnsignedGauge,
    bytes: UnsignedGauge,
    disk_bytes: UnsignedGauge,
    cache_bytes: UnsignedGauge,
    chunk_cache_bytes: UnsignedGauge,
    channels: UnsignedGauge,
    idempotency_keys: UnsignedGauge,
}

/// State of the log when the metrics are read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogGauges {
    pub(crate) head: u64,
    pub(crate) bytes: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) chunk_cache_bytes: u64,
    pub(crate) channels: u64,
    pub(crate) idempotency_keys: u64,
}

impl LogMetrics {
    /// Registers the metrics; `fsyncs` is the histogram that the log already counts into.
    pub(super) fn new(it: &mut Registry, fsyncs: Histogram) -> Self {
        it.register("fsync_seconds", "Time of each fsync of stored events", fsyncs);
        Self {
            publishes: histogram(
                it,
                "publish_seconds",
                "Time from the check of a publish until its answer is known, refusals included",
            ),
            publishes_refused: counter(
                it,
                "publishes_refused",
                "Publishes answered with an error after they were checked",
            ),
            appends: histogram(
                it,
                "append_seconds",
                "Time of appending one batch of publishes to the log, or to the broker's",
            ),
            appends_failed: counter(it, "appends_failed", "Batches that the log could not store"),
            head: gauge(it, "log_head", "Offset of the newest event"),
            bytes: gauge(
                it,
                "log_bytes",
                "Stored events with their index, as log.retention_bytes counts them",
            ),
            disk_bytes: gauge(it, "log_disk_bytes", "Files of the log"),
            cache_bytes: gauge(it, "log_cache_bytes", "Newest events held in memory"),
            chunk_cache_bytes: gauge(
                it,
                "log_chunk_cache_bytes",
                "Chunks of channels held in memory for further readers, 3 MiB at most",
            ),
            channels: gauge(it, "log_channels", "Channels with events or a known loss"),
            idempotency_keys: gauge(it, "idempotency_keys", "Idempotency keys remembered"),
        }
    }

    pub(super) fn set(&self, gauges: LogGauges) {
        self.head.set(gauges.head);
        self.bytes.set(gauges.bytes);
        self.disk_bytes.set(gauges.disk_bytes);
        self.cache_bytes.set(gauges.cache_bytes);
        self.chunk_cache_bytes.set(gauges.chunk_cache_bytes);
        self.channels.set(gauges.channels);
        self.idempotency_keys.set(gauges.idempotency_keys);
    }

    /// Durations of publishes, from their check.
    pub(crate) fn publishes(&self) -> &Histogram {
        &self.publishes
    }

    pub(crate) fn publish_refused(&self) {
        self.publishes_refused.inc();
    }

    /// Durations of appends of one batch.
    pub(crate) fn appends(&self) -> &Histogram {
        &self.appends
    }

    pub(crate) fn append_failed(&self) {
        self.appends_failed.inc();
    }
}
