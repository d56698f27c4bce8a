//! A hub with many stored events.

use crate::{prelude::*, requests::fill};

/// Channels of [`full_hub`]: each has 1,000 events if the hub holds 1,000,000.
pub(super) const BUSY_CHANNELS: u64 = 1_000;

/// Starts a hub on disk that holds numbered events on each of the channels `busy.0` to `busy.999`. Returns an id from
/// before them, too.
pub(super) fn full_hub(context: &BenchContext, name: &str) -> BenchResult<(BenchServer, String)> {
    let server = BenchServer::start_with_data(context, name)?;
    let first = fill(server.address, [("start".to_owned(), 0)])?;
    let events = 0..context.arguments.events;
    fill(server.address, events.map(|at| (format!("busy.{}", at % BUSY_CHANNELS), at / BUSY_CHANNELS)))?;
    Ok((server, first))
}
