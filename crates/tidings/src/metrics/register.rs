//! Registration of metrics under their names and help texts.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

/// A gauge without negative values.
pub(super) type UnsignedGauge = Gauge<u64, AtomicU64>;

/// A counter for each value of one label.
pub(super) type LabelledCounters = Family<[(&'static str, String); 1], Counter>;

/// Defines a group of metrics, each with its name and help text; `new` registers them in this order.
macro_rules! metric_group {
    ($(#[$doc:meta])* $group:ident { $($field:ident: $kind:ty = $name:literal, $help:literal;)+ }) => {
        $(#[$doc])*
        pub(crate) struct $group {
            $(pub(crate) $field: $kind,)+
        }

        impl $group {
            pub(super) fn new(registry: &mut prometheus_client::registry::Registry) -> Self {
                Self { $($field: $crate::metrics::register::register(registry, $name, $help),)+ }
            }
        }
    };
}

pub(super) use metric_group;

pub(super) fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Counts one more with this value of the label.
pub(super) fn count(counters: &LabelledCounters, label: &'static str, value: &str) {
    counters.get_or_create(&[(label, value.to_owned())]).inc();
}
