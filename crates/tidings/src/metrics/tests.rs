//! Metrics for the tests of other modules.

use std::sync::Arc;

use super::*;

/// Metrics at zero.
pub(crate) fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(Histogram::default()))
}
