//! Result of the benchmarks.

/// Result with any error.
pub(crate) type BenchResult<T> = Result<T, Box<dyn std::error::Error>>;
