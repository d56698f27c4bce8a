//! Publishes/s: 2,000 channels with one subscriber each, single events and batches.

use std::time::Duration;

use crate::prelude::*;

pub(super) const CHANNELS: usize = 2_000;
/// Keep-alive connections that publish, each with one request at a time.
pub(super) const PUBLISHERS: usize = 32;
/// Connections that publish batches.
pub(super) const BATCH_PUBLISHERS: usize = 4;
/// Events of one NDJSON body.
pub(super) const BATCH: usize = 100;
/// Load before the measurement.
pub(super) const WARM_UP: Duration = Duration::from_millis(500);

pub(super) fn single(context: &BenchContext) -> BenchResult<FigureTable> {
    let servers = ServerKind::all_but(&[ServerKind::Pushpin]);
    let rounds = Comparison::of_servers(context, context.arguments.rounds, &servers, |kind| {
        turn(context, *kind, None)
    })?;
    let mut table = FigureTable::new(
        "Publishes: 2,000 channels of one subscriber",
        &["server", "publishes/s", "deliveries/s", "server CPU per publish, µs", "faults"],
        "64-byte JSON events, one a request, over 32 keep-alive connections; each event is delivered once. In \
         parentheses: the median of the ratios to the epoll baseline, round by round. Pushpin is left out: it closes the \
         connection after every publish.",
    );
    rounds.fill(&mut table, 0..3);
    let to_nchan = |kind, figure| rounds.server_ratio(kind, ServerKind::Nchan, figure);
    let (memory, interval) = (ServerKind::Memory, ServerKind::Interval);
    let name = "deliveries/s, 2,000 channels of one subscriber, `memory`, × Nchan";
    table.at_least(name, 1.0, to_nchan(memory, 1));
    table.at_most("CPU per publish, the same, `memory`, × Nchan", 1.0, to_nchan(memory, 2));
    table.at_least("deliveries/s, the same, `interval`, × Nchan", 0.8, to_nchan(interval, 1));
    table.at_most("CPU per publish, the same, `interval`, × Nchan", 1.25, to_nchan(interval, 2));
    table.panels.push(rounds.panel("Publishes/s on 2,000 channels of one subscriber: more is better", 0));
    table.panels.push(rounds.panel("Server CPU per publish, the same: less is better", 2));
    Ok(table)
}

pub(super) fn batched(context: &BenchContext) -> BenchResult<FigureTable> {
    let servers = ServerKind::all_but(&[ServerKind::Nchan, ServerKind::Pushpin, ServerKind::EpollBaseline]);
    let rounds = Comparison::of_servers(context, context.arguments.rounds, &servers, |kind| {
        let batch = (*kind != ServerKind::AxumBaseline).then_some(BATCH);
        turn(context, *kind, batch)
    })?;
    let mut table = FigureTable::new(
        "Publishes in batches of 100",
        &["server", "events/s", "deliveries/s", "server CPU per event, µs", "faults"],
        "The same channels and subscribers, NDJSON bodies of 100 events for 100 channels, over 4 connections. The \
         baseline has no batches: its row is that of single events, in the same rounds.",
    );
    rounds.fill(&mut table, 0..3);
    Ok(table)
}

fn turn(context: &BenchContext, kind: ServerKind, batch: Option<usize>) -> BenchResult<Sample> {
    let server = BenchServer::start(context, kind, &[])?;
    let publishers = batch.map_or(PUBLISHERS, |_| BATCH_PUBLISHERS);
    let mut fleet = BenchFleet::new(&[&server], CHANNELS, publishers)?;
    fleet.batch = batch;
    fleet.subscribe(CHANNELS)?;
    fleet.run_saturated(None, WARM_UP)?;
    let measured = fleet.measure(&[&server.trees], |fleet| fleet.run_saturated(None, context.slice()))?;
    let (published, delivered) = (measured.published, measured.deliveries);
    fleet.finish(vec![
        measured.per_second(published),
        measured.per_second(delivered),
        measured.cpu_per_event(),
    ])
}
