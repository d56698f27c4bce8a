//! Metrics of publishes and of the log.

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tidings_sync::Histogram;

use super::register::{UnsignedGauge, metric_group};

metric_group! {
    /// Metrics of publishes and of the log.
    LogMetrics {
        publishes: Histogram = "publish_seconds",
            "Time from the check of a publish until its answer is known, refusals included";
        publishes_refused: Counter = "publishes_refused",
            "Publishes answered with an error after they were checked";
        appends: Histogram = "append_seconds",
            "Time of appending one batch of publishes to the log, or to the broker's";
        appends_failed: Counter = "appends_failed", "Batches that the log could not store";
        head: UnsignedGauge = "log_head", "Offset of the newest event";
        bytes: UnsignedGauge = "log_bytes",
            "Stored events with their index, as log.retention_bytes counts them";
        disk_bytes: UnsignedGauge = "log_disk_bytes", "Files of the log";
        cache_bytes: UnsignedGauge = "log_cache_bytes", "Newest events held in memory";
        chunk_cache_bytes: UnsignedGauge = "log_chunk_cache_bytes",
            "Chunks of channels held in memory for further readers, 3 MiB at most";
        channels: UnsignedGauge = "log_channels", "Channels with events or a known loss";
        idempotency_keys: UnsignedGauge = "idempotency_keys", "Idempotency keys remembered";
    }
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
    pub(super) fn with_fsyncs(registry: &mut Registry, fsyncs: Histogram) -> Self {
        registry.register("fsync_seconds", "Time of each fsync of stored events", fsyncs);
        Self::new(registry)
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
}
