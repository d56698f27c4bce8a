//! A hub with many stored events.

use crate::{
    arguments::BenchArguments,
    http::BlockingHttp,
    result::BenchResult,
    server::{BenchServer, Programs, ServerKind},
};

/// A hub on disk that holds events `0..` on each of the channels `busy.0` to `busy.999`, and an id from before them.
pub(super) fn full_hub(
    arguments: &BenchArguments,
    programs: &Programs,
    name: &str,
) -> BenchResult<(BenchServer, String)> {
    let server = BenchServer::start(programs, ServerKind::Interval, name, &[])?;
    let mut http = BlockingHttp::connect(server.address)?;
    let first = http.fill([("start".to_owned(), 0)].into_iter())?;
    http.fill((0..arguments.events).map(|at| (format!("busy.{}", at % 1_000), at / 1_000)))?;
    Ok((server, first))
}
