//! Metrics of one hub, one group for each module that counts, in Prometheus text.

mod auth;
mod broker;
mod connections;
mod events;
mod http;
mod log;
mod register;

use prometheus_client::{encoding::text::encode, metrics::info::Info, registry::Registry};
use tidings_sync::Histogram;

use self::auth::AuthMetrics;
use self::broker::BrokerMetrics;
use self::connections::ConnectionMetrics;
use self::events::EventMetrics;
use self::http::{HttpMetrics, PanicMetrics};
pub(crate) use self::log::LogGauges;
use self::log::LogMetrics;

/// Metrics of one hub, by group.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) auth: AuthMetrics,
    pub(crate) broker: BrokerMetrics,
    pub(crate) connections: ConnectionMetrics,
    pub(crate) events: EventMetrics,
    pub(crate) http: HttpMetrics,
    pub(crate) log: LogMetrics,
    pub(crate) panics: PanicMetrics,
}

impl Metrics {
    /// Registers all metrics at zero; `fsyncs` is the histogram of a log that is open already.
    pub(crate) fn new(fsyncs: Histogram) -> Self {
        let mut registry = Registry::with_prefix("tidings");
        let it = &mut registry;
        it.register("build", "Version of this build", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        Self {
            auth: AuthMetrics::new(it),
            broker: BrokerMetrics::new(it),
            connections: ConnectionMetrics::new(it),
            events: EventMetrics::new(it),
            http: HttpMetrics::new(it),
            log: LogMetrics::with_fsyncs(it, fsyncs),
            panics: PanicMetrics::new(it),
            registry,
        }
    }

    /// Returns the metrics in Prometheus text, with the gauges set to these values.
    pub(crate) fn text(&self, streams_open: u64, log: LogGauges) -> String {
        self.connections.streams_open.set(streams_open);
        self.log.set(log);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string succeeds");
        text
    }
}

#[cfg(test)]
pub(crate) mod tests;
