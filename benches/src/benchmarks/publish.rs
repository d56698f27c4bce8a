//! Publishes/s: 2,000 channels with one subscriber each, single events and batches.

use std::time::{Duration, Instant};

use tidings_load::StampCodec;

use super::{server_rounds::Sample, server_rounds::ServerRounds};
use crate::{
    arguments::BenchArguments,
    client_fleet::BenchFleet,
    event::{EVENT_BYTES, RUN, data},
    numbers::micros,
    report::FigureTable,
    requests::line,
    result::BenchResult,
    server::{BenchServer, Programs, ServerKind},
};

pub(super) const CHANNELS: usize = 2_000;
/// Keep-alive connections that publish, each with one request at a time.
pub(super) const PUBLISHERS: usize = 32;
/// Connections that publish batches.
pub(super) const BATCH_PUBLISHERS: usize = 4;
/// Events of one NDJSON body.
pub(super) const BATCH: usize = 100;
/// Load before the measurement.
pub(super) const WARM_UP: Duration = Duration::from_millis(500);

/// The epoll baseline is last: all others are its multiples.
const SINGLE: [ServerKind; 6] = [
    ServerKind::Memory,
    ServerKind::Interval,
    ServerKind::Fsync,
    ServerKind::AxumBaseline,
    ServerKind::Nchan,
    ServerKind::EpollBaseline,
];
const BATCHED: [ServerKind; 4] =
    [ServerKind::Memory, ServerKind::Interval, ServerKind::Fsync, ServerKind::AxumBaseline];

pub(crate) fn measure(arguments: &BenchArguments, programs: &Programs) -> BenchResult<Vec<FigureTable>> {
    Ok(vec![single(arguments, programs)?, batched(arguments, programs)?])
}

fn single(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let mut table = FigureTable::new(
        "Publishes: 2,000 channels of one subscriber",
        &["server", "publishes/s", "deliveries/s", "server CPU per publish, µs", "faults"],
        "64-byte JSON events, one a request, over 32 keep-alive connections; each event is delivered once. In \
         parentheses: the median of the ratios to the epoll baseline, round by round. Pushpin is left out: it closes the \
         connection after every publish.",
    );
    let rounds =
        ServerRounds::take(&SINGLE, arguments, |kind, round| slice(arguments, programs, kind, round, 1))?;
    rounds.fill(&mut table);
    let ours = |kind, figure| rounds.ratio(kind, ServerKind::Nchan, figure);
    let figure = "deliveries/s, 2,000 channels of one subscriber, `memory`, × Nchan";
    table.target(figure, "≥ 1", ours(ServerKind::Memory, 1), |ratio| ratio >= 1.0);
    let figure = "CPU per publish, the same, `memory`, × Nchan";
    table.target(figure, "≤ 1", ours(ServerKind::Memory, 2), |ratio| ratio <= 1.0);
    let figure = "deliveries/s, the same, `interval`, × Nchan";
    table.target(figure, "≥ 0.8", ours(ServerKind::Interval, 1), |ratio| ratio >= 0.8);
    let figure = "CPU per publish, the same, `interval`, × Nchan";
    table.target(figure, "≤ 1.25", ours(ServerKind::Interval, 2), |ratio| ratio <= 1.25);
    table.panels.push(rounds.panel("Publishes/s on 2,000 channels of one subscriber: more is better", 0));
    table.panels.push(rounds.panel("Server CPU per publish, the same: less is better", 2));
    Ok(table)
}

fn batched(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let mut table = FigureTable::new(
        "Publishes in batches of 100",
        &["server", "events/s", "deliveries/s", "server CPU per event, µs", "faults"],
        "The same channels and subscribers, NDJSON bodies of 100 events for 100 channels, over 4 connections. The \
         baseline has no batches: its row is that of single events, in the same rounds.",
    );
    let rounds = ServerRounds::take(&BATCHED, arguments, |kind, round| {
        slice(arguments, programs, kind, round, if kind == ServerKind::AxumBaseline { 1 } else { BATCH })
    })?;
    rounds.fill(&mut table);
    Ok(table)
}

fn slice(
    arguments: &BenchArguments,
    programs: &Programs,
    kind: ServerKind,
    round: usize,
    batch: usize,
) -> BenchResult<Sample> {
    let name = format!("publish-{kind:?}-{round}-{batch}");
    let server = BenchServer::start(programs, kind, &name, &[])?;
    let mut fleet = BenchFleet::of(&server)?;
    for channel in 0..CHANNELS {
        fleet.subscribe(&channel_name(channel), None)?;
    }
    fleet.open_all()?;
    for _ in 0..if batch == 1 { PUBLISHERS } else { BATCH_PUBLISHERS } {
        fleet.add_publisher();
    }
    let mut load = ManyChannelLoad::new(batch);
    load.run(&mut fleet, WARM_UP)?;
    let (published, delivered, cpu, began) =
        (load.published, fleet.deliveries, server.cpu()?, Instant::now());
    load.run(&mut fleet, Duration::from_secs_f64(arguments.slice))?;
    let seconds = began.elapsed().as_secs_f64();
    let published = (load.published - published) as f64;
    let figures = vec![
        published / seconds,
        (fleet.deliveries - delivered) as f64 / seconds,
        micros(server.cpu()? - cpu) / published,
    ];
    fleet.drain(load.published)?;
    server.discard();
    Ok(Sample { figures, faults: fleet.faults })
}

pub(super) fn channel_name(channel: usize) -> String {
    format!("project.{channel}")
}

/// Publishers that send a request as soon as the previous one is answered. Each has channels of its own, so the order
/// within a channel is known.
pub(crate) struct ManyChannelLoad {
    batch: usize,
    pub(crate) published: u64,
    /// Number of events of each publisher.
    rounds: Vec<usize>,
    numbers: Vec<u64>,
    codec: StampCodec,
}

impl ManyChannelLoad {
    pub(crate) fn new(batch: usize) -> Self {
        Self {
            batch,
            published: 0,
            rounds: Vec::new(),
            numbers: vec![0; CHANNELS],
            codec: StampCodec::new(RUN),
        }
    }

    pub(crate) fn run(&mut self, fleet: &mut BenchFleet, time: Duration) -> BenchResult<()> {
        let began = Instant::now();
        self.rounds.resize(fleet.publishers(), 0);
        while began.elapsed() < time {
            for publisher in fleet.idle_publishers() {
                self.send(fleet, publisher)?;
            }
            fleet.poll(Duration::from_millis(10))?;
        }
        Ok(())
    }

    fn send(&mut self, fleet: &mut BenchFleet, publisher: usize) -> BenchResult<()> {
        let publishers = fleet.publishers();
        let mut lines = String::new();
        for _ in 0..self.batch {
            let own = CHANNELS / publishers;
            let channel = publisher + publishers * (self.rounds[publisher] % own);
            self.rounds[publisher] += 1;
            let event = fleet.event(0, self.numbers[channel])?;
            self.numbers[channel] += 1;
            self.published += 1;
            if self.batch == 1 {
                fleet.publish(publisher, &channel_name(channel), event);
                return Ok(());
            }
            lines += &line(&channel_name(channel), &data(&self.codec, event, EVENT_BYTES));
        }
        fleet.publish_batch(publisher, &lines);
        Ok(())
    }
}
