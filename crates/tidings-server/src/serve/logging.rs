//! The log of the process, on standard error.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, warn};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt, registry};

use crate::terminal::colours_wanted;

/// What is logged where `RUST_LOG` does not say.
const FILTER: &str = "info";

/// What writes the target of a request that it cannot read, query and all, below the level info: the HTTP/2 of the
/// server. A query may hold a token or a ticket, and no `RUST_LOG` brings one into a log.
const CAPPED: &str = "h2";

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
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(coloured);
    registry().with(lines.with_filter(filter.and(filter_fn(holds_no_token)))).init();
    if asks_for_more(text) {
        warn!(
            "{CAPPED} is logged at info at most, whatever RUST_LOG says: it writes queries, which may hold tokens"
        );
    }
    Ok(())
}

fn holds_no_token(line: &Metadata<'_>) -> bool {
    let target = line.target();
    let capped = target.strip_prefix(CAPPED).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    *line.level() <= Level::INFO || !capped
}

/// Whether a filter names lines that are not logged, by their target or for all targets.
fn asks_for_more(filter: &str) -> bool {
    filter.split(',').map(str::trim).any(|directive| match directive.rsplit_once('=') {
        Some((target, level)) => target.trim().starts_with(CAPPED) && is_more(level),
        None => directive.starts_with(CAPPED) || is_more(directive),
    })
}

fn is_more(level: &str) -> bool {
    level.trim().parse::<LevelFilter>().is_ok_and(|level| level > LevelFilter::INFO)
}

#[cfg(test)]
mod tests;
