//! A hub with many stored events.

use crate::{
    arguments::BenchArguments,
    requests::fill,
    result::BenchResult,
    server::{BenchServer, Programs, ServerKind},
};

/// Starts a hub on disk that holds events `0..` on each of the channels `busy.0` to `busy.999`. Returns an id from
/// before them, too.
pub(super) fn full_hub(
    arguments: &BenchArguments,
    programs: &Programs,
    name: &str,
) -> BenchResult<(BenchServer, String)> {
    let server = BenchServer::start(programs, ServerKind::Interval, name, &[])?;
    let first = fill(server.address, [("start".to_owned(), 0)])?;
    fill(server.address, (0..arguments.events).map(|at| (format!("busy.{}", at % 1_000), at / 1_000)))?;
    Ok((server, first))
}
