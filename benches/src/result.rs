//! Result of a program that only measures.

/// Result with any error.
pub(crate) type BenchResult<T> = Result<T, Box<dyn std::error::Error>>;
