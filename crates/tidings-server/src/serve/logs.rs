//! The log of the process, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::terminal::colours_wanted;

/// What is logged where `RUST_LOG` does not say.
const FILTER: &str = "info";

/// Starts logging to standard error, filtered by `RUST_LOG`.
///
/// # Errors
/// What is wrong with `RUST_LOG`.
pub(super) fn start() -> Result<(), String> {
    let wanted = std::env::var("RUST_LOG").ok().filter(|filter| !filter.trim().is_empty());
    let text = wanted.as_deref().unwrap_or(FILTER);
    let filter = EnvFilter::try_new(text).map_err(|error| {
        format!("RUST_LOG: {text:?} is not a log filter: {error}; for example tidings=debug,info")
    })?;
    let coloured = std::io::stderr().is_terminal() && colours_wanted();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(coloured).init();
    Ok(())
}
