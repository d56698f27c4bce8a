//! Registration of metrics under their names and help texts.

use std::{fmt::Debug, hash::Hash, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::histogram::Histogram;

/// A gauge without negative values.
pub(super) type UnsignedGauge = Gauge<u64, AtomicU64>;

/// A counter for each reason.
pub(super) type ReasonCounters = Family<ReasonLabel, Counter>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabel {
    pub(super) reason: String,
}

pub(super) fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

pub(super) fn gauge(registry: &mut Registry, name: &str, help: &str) -> UnsignedGauge {
    let gauge = UnsignedGauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

pub(super) fn histogram(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::default();
    registry.register(name, help, histogram.clone());
    histogram
}

pub(super) fn family<Labels>(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Counter>
where
    Labels: Clone + Hash + Eq + EncodeLabelSet + Debug + Send + Sync + 'static,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

/// Counts one more with this reason.
pub(super) fn count(counters: &ReasonCounters, reason: &str) {
    counters.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc();
}

/// Returns a reason as the wire has it.
pub(super) fn wire_text(reason: impl serde::Serialize) -> String {
    let text = serde_json::to_value(reason).ok().and_then(|it| it.as_str().map(str::to_owned));
    text.unwrap_or_default()
}
