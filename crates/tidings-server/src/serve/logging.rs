//! The log of the process, on standard error.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, warn};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt, registry};

use crate::terminal::colours_allowed;

/// The filter without `RUST_LOG`.
const FILTER: &str = "info";

/// The HTTP/2 server. Below the level info it logs the target of a request that it cannot parse. A query may hold a
/// token or a ticket, so no `RUST_LOG` enables these lines.
const CAPPED: &str = "h2";

/// Starts logging to standard error, filtered by `RUST_LOG`.
///
/// # Errors
/// The error of `RUST_LOG`.
pub(super) fn start() -> Result<(), String> {
    let wanted = std::env::var("RUST_LOG").ok().filter(|filter| !filter.trim().is_empty());
    let text = wanted.as_deref().unwrap_or(FILTER);
    let filter = EnvFilter::try_new(text).map_err(|error| {
        format!("RUST_LOG: {text:?} is not a log filter: {error}; for example tidings=debug,info")
    })?;
    let is_coloured = std::io::stderr().is_terminal() && colours_allowed();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(is_coloured);
    registry().with(lines.with_filter(filter.and(filter_fn(has_no_token)))).init();
    if exceeds_cap(text) {
        warn!(
            "{CAPPED} is logged at info at most, whatever RUST_LOG says: it writes queries, which may hold tokens"
        );
    }
    Ok(())
}

fn has_no_token(line: &Metadata<'_>) -> bool {
    let target = line.target();
    let is_capped = target.strip_prefix(CAPPED).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    *line.level() <= Level::INFO || !is_capped
}

/// Returns whether a filter asks for lines above the cap, by their target or for all targets.
fn exceeds_cap(filter: &str) -> bool {
    filter.split(',').map(str::trim).any(|directive| match directive.rsplit_once('=') {
        Some((target, level)) => target.trim().starts_with(CAPPED) && is_above_info(level),
        None => directive.starts_with(CAPPED) || is_above_info(directive),
    })
}

fn is_above_info(level: &str) -> bool {
    level.trim().parse::<LevelFilter>().is_ok_and(|level| level > LevelFilter::INFO)
}

#[cfg(test)]
mod tests;
