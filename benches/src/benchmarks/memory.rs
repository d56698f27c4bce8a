//! Memory per idle connection: the growth of the proportional set size between a tenth of the connections and all.

use std::{thread, time::Duration};

use crate::{chart::ChartPanel, prelude::*};

/// Time without load before memory is read.
const REST: Duration = Duration::from_millis(1_500);
/// Events to each connection before memory is read again.
const EVENTS: u64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdleStreams {
    OneChannel,
    OneChannelEach,
    /// Each stream is the second request of its connection.
    ThroughHyper,
}

const CASES: [(ServerKind, &str, IdleStreams); 8] = [
    (ServerKind::Interval, "tidings", IdleStreams::OneChannel),
    (ServerKind::Interval, "tidings", IdleStreams::OneChannelEach),
    (ServerKind::Interval, "tidings through hyper", IdleStreams::ThroughHyper),
    (ServerKind::Before, "tidings before", IdleStreams::OneChannel),
    (ServerKind::AxumBaseline, "`axum` + broadcast", IdleStreams::OneChannel),
    (ServerKind::AxumBaseline, "`axum` + broadcast", IdleStreams::OneChannelEach),
    (ServerKind::Nchan, "Nchan", IdleStreams::OneChannel),
    (ServerKind::Pushpin, "Pushpin", IdleStreams::OneChannel),
];

/// Index of the figure after events.
const AFTER_EVENTS: usize = 1;

pub(super) fn measure(context: &BenchContext) -> BenchResult<FigureTable> {
    let chosen = CASES.into_iter().filter(|(server, ..)| context.is_chosen(*server));
    let cases = chosen.map(|setup| {
        let (server, name, streams) = setup;
        let channels = if streams == IdleStreams::OneChannelEach { "one each" } else { "one" };
        Case { names: [name, channels].map(str::to_owned).to_vec(), server, setup }
    });
    let rows = Comparison::measure(1, cases, |(server, _, streams)| {
        grow(&BenchServer::start(context, *server, &[])?, *streams, context.arguments.connections)
    })?;
    let many = context.arguments.connections;
    let mut table = FigureTable::new(
        "Memory per idle connection",
        &["server", "channels", "fresh, KiB", "after three events, KiB", "faults"],
        format!(
            "Growth of the proportional set size of all processes of the server from {} to {many} connections, for \
             each of them. Through hyper are streams that are the second request of their connection. Buffers of the \
             kernel are not in it.",
            many / 10
        ),
    );
    rows.fill(&mut table, 0..0);
    let mut bars = Vec::new();
    for (at, (kind, name, streams)) in rows.setups().enumerate() {
        let most = rows.median(at, 0).zip(rows.median(at, AFTER_EVENTS)).map(|(one, other)| one.max(other));
        match (kind, streams) {
            (ServerKind::Interval, IdleStreams::OneChannel) => {
                let name = "memory per idle connection, direct, fresh and after events, KiB";
                table.at_most(name, 2.0, most);
            }
            (ServerKind::Interval, IdleStreams::ThroughHyper) => {
                table.at_most("memory per idle connection, through hyper, KiB", 12.0, most);
            }
            _ => {}
        }
        if *streams != IdleStreams::OneChannelEach {
            bars.extend(rows.median(at, 0).map(|kib| ((*name).to_owned(), kib)));
        }
    }
    let title = format!("Memory per idle connection, of {many}: less is better");
    table.panels.push(ChartPanel { title, bars, unit: " KiB", reference: None });
    Ok(table)
}

fn grow(server: &BenchServer, streams: IdleStreams, many: usize) -> BenchResult<Sample> {
    let is_each = streams == IdleStreams::OneChannelEach;
    let mut fleet = BenchFleet::new(&[server], if is_each { many } else { 1 }, 1)?;
    fleet.is_kept_alive = streams == IdleStreams::ThroughHyper;
    let few = many / 10;
    let memory_with = |fleet: &mut BenchFleet, streams: usize| -> BenchResult<f64> {
        fleet.subscribe(streams)?;
        thread::sleep(REST);
        Ok(server.pss_kib()? as f64)
    };
    let at_few = memory_with(&mut fleet, few)?;
    let each = |kib: f64| (kib - at_few).max(0.0) / (many - few) as f64;
    let fresh = each(memory_with(&mut fleet, many - few)?);
    let mut after_events = f64::NAN;
    // Stored events of so many channels would add the log's memory to that of the connections.
    if !is_each {
        for _ in 0..EVENTS {
            fleet.publish(0);
            fleet.drain()?;
        }
        after_events = each(memory_with(&mut fleet, 0)?);
    }
    fleet.finish(vec![fresh, after_events])
}
