//! Deliveries: 1,000 subscribers of one channel, paced and saturated.

use std::time::{Duration, Instant};

use super::{server_rounds::Sample, server_rounds::ServerRounds};
use crate::{
    arguments::BenchArguments,
    client_fleet::BenchFleet,
    numbers::micros,
    report::FigureTable,
    result::BenchResult,
    server::{BenchServer, Programs, ServerKind},
};

const SUBSCRIBERS: usize = 1_000;
const EVENTS_PER_SECOND: u32 = 30;
/// Publishers of the saturated load.
const PUBLISHERS: usize = 8;
/// Most events that the slowest subscriber may be behind: the axum baseline buffers 1,024 and loses later ones.
const WINDOW: u64 = 256;
/// The same for Pushpin, which closes streams that are further behind.
const PUSHPIN_WINDOW: u64 = 16;
const WARM_UP: Duration = Duration::from_millis(500);
const CHANNEL: &str = "project.1";

/// The epoll baseline is last: all others are its multiples.
const KINDS: [ServerKind; 8] = [
    ServerKind::Memory,
    ServerKind::Before,
    ServerKind::Interval,
    ServerKind::Fsync,
    ServerKind::AxumBaseline,
    ServerKind::Nchan,
    ServerKind::Pushpin,
    ServerKind::EpollBaseline,
];

pub(crate) fn measure(arguments: &BenchArguments, programs: &Programs) -> BenchResult<Vec<FigureTable>> {
    Ok(vec![paced(arguments, programs)?, saturated(arguments, programs)?])
}

fn paced(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let mut table = FigureTable::new(
        "Deliveries, paced: 1,000 subscribers, 30 events/s",
        &["server", "server CPU per delivery, µs", "p50, ms", "p99, ms", "faults"],
        "From the publish to the receipt, each event of each subscriber. In parentheses: the median of the ratios to \
         the epoll baseline, round by round: one thread, one write for each subscriber, nothing else.",
    );
    let rounds =
        ServerRounds::take(&KINDS, arguments, |kind, round| slice(arguments, programs, kind, round, true))?;
    rounds.fill(&mut table);
    let ours = |figure| rounds.ratio(ServerKind::Interval, ServerKind::EpollBaseline, figure);
    let figure = "CPU per delivery, paced, 1,000 subscribers, × epoll baseline";
    table.target(figure, "≤ 1.1", ours(0), |ratio| ratio <= 1.1);
    table.target("p99, paced, × epoll baseline", "≤ 1.2", ours(2), |ratio| ratio <= 1.2);
    table
        .panels
        .push(rounds.panel("Server CPU per delivery, 30 events/s to 1,000 subscribers: less is better", 0));
    table.panels.push(rounds.panel("p50 from publish to receipt, the same: less is better", 1));
    Ok(table)
}

fn saturated(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let mut table = FigureTable::new(
        "Deliveries, as fast as it goes: 1,000 subscribers",
        &["server", "deliveries/s", "events/s", "server CPU per delivery, µs", "faults"],
        "8 publishers, one event a request; they wait while the slowest subscriber is 256 events behind, since the \
         baseline silently loses what is more than 1,024 behind; for Pushpin 16, since it cuts off who is much further \
         behind. In parentheses: ratios to the epoll baseline.",
    );
    let rounds =
        ServerRounds::take(&KINDS, arguments, |kind, round| slice(arguments, programs, kind, round, false))?;
    rounds.fill(&mut table);
    let others = [ServerKind::AxumBaseline, ServerKind::Nchan, ServerKind::Pushpin];
    // Lost events were not delivered.
    let is_sound = |kind: &ServerKind| rounds.samples(*kind).iter().all(|sample| sample.faults.is_none());
    let sound = others.into_iter().filter(is_sound);
    let rates = sound.filter_map(|kind| Some((rounds.median(kind, 0)?, kind)));
    if let Some((_, best)) = rates.max_by(|one, other| one.0.total_cmp(&other.0)) {
        let ours = |figure| rounds.ratio(ServerKind::Interval, best, figure);
        let figure = "deliveries/s, saturated, one core, × the best of the others";
        table.target(figure, "≥ 3", ours(0), |ratio| ratio >= 3.0);
        let figure = "CPU per delivery, saturated, × the same";
        table.target(figure, "≤ 0.4", ours(2), |ratio| ratio <= 0.4);
    }
    table
        .panels
        .push(rounds.panel("Deliveries/s to 1,000 subscribers, as fast as it goes: more is better", 0));
    Ok(table)
}

fn slice(
    arguments: &BenchArguments,
    programs: &Programs,
    kind: ServerKind,
    round: usize,
    is_paced: bool,
) -> BenchResult<Sample> {
    let name = format!("fanout-{kind:?}-{round}-{is_paced}");
    let server = BenchServer::start(programs, kind, &name, &[])?;
    let mut fleet = BenchFleet::subscribed(&server, CHANNEL, SUBSCRIBERS)?;
    for _ in 0..if is_paced { 1 } else { PUBLISHERS } {
        fleet.add_publisher();
    }
    let mut load = OneChannelLoad::new(CHANNEL);
    if kind == ServerKind::Pushpin {
        load.window = PUSHPIN_WINDOW;
    }
    let time = Duration::from_secs_f64(arguments.slice);
    let figures = if is_paced {
        load.paced(&mut fleet, EVENTS_PER_SECOND, WARM_UP)?;
        fleet.forget_latencies();
        let (delivered, cpu) = (fleet.deliveries, server.cpu()?);
        load.paced(&mut fleet, EVENTS_PER_SECOND, time)?;
        let per_delivery = micros(server.cpu()? - cpu) / (fleet.deliveries - delivered) as f64;
        let quantile = |at| fleet.latency().value_at_quantile(at) as f64 / 1e3;
        vec![per_delivery, quantile(0.5), quantile(0.99)]
    } else {
        load.saturated(&mut fleet, WARM_UP)?;
        let (delivered, cpu, began) = (fleet.deliveries, server.cpu()?, Instant::now());
        load.saturated(&mut fleet, time)?;
        let (seconds, delivered) = (began.elapsed().as_secs_f64(), (fleet.deliveries - delivered) as f64);
        vec![
            delivered / seconds,
            delivered / seconds / SUBSCRIBERS as f64,
            micros(server.cpu()? - cpu) / delivered,
        ]
    };
    fleet.drain(load.published() * SUBSCRIBERS as u64)?;
    server.discard();
    Ok(Sample { figures, faults: fleet.faults })
}

/// Publishers of one channel.
pub(super) struct OneChannelLoad {
    channel: &'static str,
    /// Most events that the slowest subscriber may be behind.
    window: u64,
    /// Next number of each publisher.
    numbers: [u64; PUBLISHERS],
}

impl OneChannelLoad {
    pub(super) fn new(channel: &'static str) -> Self {
        Self { channel, window: WINDOW, numbers: [0; PUBLISHERS] }
    }

    pub(super) fn published(&self) -> u64 {
        self.numbers.iter().sum()
    }

    /// Sends the next event of a publisher.
    pub(super) fn send(&mut self, fleet: &mut BenchFleet, publisher: usize) -> BenchResult<()> {
        let event = fleet.event(publisher, self.numbers[publisher])?;
        self.numbers[publisher] += 1;
        fleet.publish(publisher, self.channel, event);
        Ok(())
    }

    /// Publishes one event at every tick, and reads meanwhile.
    pub(super) fn paced(
        &mut self,
        fleet: &mut BenchFleet,
        per_second: u32,
        time: Duration,
    ) -> BenchResult<()> {
        pace(fleet, Duration::from_secs(1) / per_second, time, &mut |fleet| self.send(fleet, 0))
    }

    fn saturated(&mut self, fleet: &mut BenchFleet, time: Duration) -> BenchResult<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            let mut room = (fleet.received_min() + self.window).saturating_sub(self.published());
            for publisher in fleet.idle_publishers() {
                if room > 0 {
                    self.send(fleet, publisher)?;
                    room -= 1;
                }
            }
            fleet.poll(Duration::from_millis(10))?;
        }
        Ok(())
    }
}

/// Publishes at every tick, and reads meanwhile. A tick waits until an earlier publish is answered.
pub(super) fn pace(
    fleet: &mut BenchFleet,
    tick: Duration,
    time: Duration,
    send: &mut impl FnMut(&mut BenchFleet) -> BenchResult<()>,
) -> BenchResult<()> {
    let began = Instant::now();
    let mut due = Duration::ZERO;
    while due < time {
        let left = due.saturating_sub(began.elapsed());
        if left.is_zero() && !fleet.idle_publishers().is_empty() {
            send(fleet)?;
            due += tick;
        } else {
            fleet.poll(left.max(Duration::from_micros(100)))?;
        }
    }
    Ok(())
}
