//! Growth of the hub's CPU per delivery with connections and channels, beside that of the epoll baseline.

use std::time::Duration;

use tidings_load::StampCodec;

use super::fanout::pace;
use crate::{
    arguments::BenchArguments,
    client_fleet::{BenchFleet, DeliveryFaults},
    event::{EVENT_BYTES, RUN, data},
    numbers::{count, figure_text, median, micros},
    report::FigureTable,
    requests::{fill, line},
    result::BenchResult,
    server::{BenchServer, Programs, ServerKind},
};

/// The same rate in all cases.
const DELIVERIES_PER_SECOND: usize = 30_000;
/// Most events of one batch. With more channels, batches take turns with them.
const BATCH_EVENTS_MAX: usize = 1_000;
const WARM_UP: Duration = Duration::from_millis(500);

/// Numbers of connections and channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GrowthCase {
    connections: usize,
    channels: usize,
    /// Further channels, each with one event and without a subscriber.
    quiet: usize,
}

impl GrowthCase {
    const fn of(connections: usize, channels: usize) -> Self {
        Self { connections, channels, quiet: 0 }
    }

    /// Events of one batch.
    fn batch(self) -> usize {
        self.channels.min(BATCH_EVENTS_MAX)
    }

    /// Channels of one connection.
    fn channels_of(self, connection: usize) -> Vec<String> {
        let own = (self.channels / self.connections).max(1);
        (0..own).map(|at| format!("grow.{}", (connection + at * self.connections) % self.channels)).collect()
    }

    /// Deliveries of one batch.
    fn deliveries(self) -> usize {
        self.batch() * (self.connections / self.channels).max(1)
    }
}

/// Reference of the ratios.
const BASE: GrowthCase = GrowthCase::of(1_000, 1);
const SETTINGS: [GrowthCase; 9] = [
    BASE,
    GrowthCase::of(100, 1),
    GrowthCase::of(5_000, 1),
    GrowthCase::of(18_000, 1),
    GrowthCase { quiet: 100_000, ..BASE },
    GrowthCase::of(1_000, 100),
    GrowthCase::of(1_000, 1_000),
    GrowthCase::of(1_000, 10_000),
    GrowthCase::of(1_000, 100_000),
];

/// CPU per delivery of the hub and the epoll baseline in one round, in µs.
struct GrowthSample {
    ours: f64,
    epoll: f64,
}

pub(crate) fn measure(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let mut table = FigureTable::new(
        "Growth with connections and channels",
        &[
            "connections",
            "channels",
            "quiet channels besides",
            "tidings, µs per delivery",
            "epoll baseline, µs",
            "tidings ÷ epoll baseline",
            "÷ the first row's",
            "faults",
        ],
        &format!(
            "Server CPU per delivery at {} deliveries/s, publishing included, durability `memory`; hub and epoll baseline in \
             turns, medians of the ratios within a round. Events are published in batches of one for each channel, of \
             {} channels at most, which then take turns. With more channels than connections, each \
             connection has several and gets one event of each batch.",
            count(DELIVERIES_PER_SECOND as f64),
            count(BATCH_EVENTS_MAX as f64),
        ),
    );
    let rounds = arguments.rounds.min(3);
    let mut pairs: Vec<Vec<GrowthSample>> = SETTINGS.iter().map(|_| Vec::new()).collect();
    let mut faults = [DeliveryFaults::default(); SETTINGS.len()];
    let time = Duration::from_secs_f64(arguments.slice);
    for _ in 0..rounds {
        for ((setting, pairs), faults) in SETTINGS.iter().zip(&mut pairs).zip(&mut faults) {
            let (ours, seen) = slice(programs, ServerKind::Memory, *setting, time)?;
            let (epoll, _) = slice(programs, ServerKind::EpollBaseline, *setting, time)?;
            eprintln!("  {setting:?}: {ours:.2} and {epoll:.2} µs, {seen}");
            pairs.push(GrowthSample { ours, epoll });
            *faults = *faults + seen;
        }
    }
    let growth = |of: &[GrowthSample]| {
        let base = pairs[0].iter().map(|pair| pair.ours / pair.epoll);
        median(of.iter().zip(base).map(|(pair, base)| pair.ours / pair.epoll / base))
    };
    for ((setting, of), faults) in SETTINGS.iter().zip(&pairs).zip(&faults) {
        let number = |value: usize| count(value as f64);
        if !faults.is_none() {
            table.errors.push(format!("{setting:?}: {faults}"));
        }
        table.row([
            number(setting.connections),
            number(setting.channels),
            number(setting.quiet),
            figure_text(median(of.iter().map(|pair| pair.ours))),
            figure_text(median(of.iter().map(|pair| pair.epoll))),
            format!("{:.2}", median(of.iter().map(|pair| pair.ours / pair.epoll))),
            format!("{:.2}", growth(of)),
            faults.to_string(),
        ]);
    }
    let worst = |is_chosen: &dyn Fn(&GrowthCase) -> bool| {
        let asked = SETTINGS.iter().zip(&pairs).filter(|(setting, _)| is_chosen(setting));
        asked.map(|(_, of)| growth(of)).reduce(f64::max)
    };
    let figure = "growth of CPU per delivery ÷ epoll baseline, 100 to 18,000 connections";
    table.target(figure, "≤ 1.15", worst(&|setting| setting.channels == 1), |growth| growth <= 1.15);
    let figure = "growth of CPU per delivery ÷ epoll baseline, 1 to 100,000 channels";
    table.target(figure, "≤ 1.15", worst(&|setting| setting.connections == 1_000), |growth| growth <= 1.15);
    Ok(table)
}

/// Returns CPU per delivery in µs, and the faults.
fn slice(
    programs: &Programs,
    kind: ServerKind,
    setting: GrowthCase,
    time: Duration,
) -> BenchResult<(f64, DeliveryFaults)> {
    let name = "growth";
    let server = BenchServer::start(programs, kind, name, &[])?;
    if kind.is_ours() && setting.quiet > 0 {
        fill(server.address, (0..setting.quiet).map(|at| (format!("quiet.{at}"), 0)))?;
    }
    let mut fleet = BenchFleet::of(&server)?;
    for connection in 0..setting.connections {
        match setting.channels_of(connection).as_slice() {
            [one] => fleet.subscribe(one, None)?,
            several => fleet.subscribe_all(several)?,
        }
    }
    fleet.open_all()?;
    fleet.add_publisher();
    let mut load = GrowthLoad { setting, batches: 0, codec: StampCodec::new(RUN) };
    load.run(&mut fleet, WARM_UP)?;
    // Deliveries in flight are not measured.
    fleet.drain(load.deliveries())?;
    let (delivered, cpu) = (fleet.deliveries, server.cpu()?);
    load.run(&mut fleet, time)?;
    fleet.drain(load.deliveries())?;
    let per_delivery = micros(server.cpu()? - cpu) / (fleet.deliveries - delivered) as f64;
    server.discard();
    Ok((per_delivery, fleet.faults))
}

struct GrowthLoad {
    setting: GrowthCase,
    batches: usize,
    codec: StampCodec,
}

impl GrowthLoad {
    fn deliveries(&self) -> u64 {
        (self.batches * self.setting.deliveries()) as u64
    }

    fn run(&mut self, fleet: &mut BenchFleet, time: Duration) -> BenchResult<()> {
        let tick = Duration::from_secs(1) * u32::try_from(self.setting.deliveries())?
            / u32::try_from(DELIVERIES_PER_SECOND)?;
        pace(fleet, tick, time, &mut |fleet| {
            let GrowthCase { channels, .. } = self.setting;
            // Every connection gets one event of each batch, so the event has the batch's number.
            let text = data(&self.codec, fleet.event(0, self.batches as u64)?, EVENT_BYTES);
            let batch = self.setting.batch();
            let first = self.batches * batch;
            let lines: String =
                (first..first + batch).map(|at| line(&format!("grow.{}", at % channels), &text)).collect();
            self.batches += 1;
            fleet.publish_batch(0, &lines);
            Ok(())
        })
    }
}
