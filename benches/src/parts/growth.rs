//! How the hub's CPU per delivery grows with connections and with channels, beside the floor's.

use std::{fs, time::Duration};

use tidings_load::Marker;

use super::{fanout::pace, fault_text, figure_text, micros};
use crate::{
    Arguments, Outcome,
    event::{EVENT_BYTES, Event, RUN},
    http::{Http, line},
    report::{Table, count, median},
    server::{Kind, Programs, Server},
    swarm::{Faults, Swarm},
};

/// The same for all settings, so that only what is asked about differs.
const DELIVERIES_PER_SECOND: usize = 30_000;
/// Events of one batch at most: with more channels than that, batches take turns with them.
const BATCH_EVENTS_MAX: usize = 1_000;
const WARM_UP: Duration = Duration::from_millis(500);

/// Connections over channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Setting {
    connections: usize,
    channels: usize,
    /// Channels besides, each with one event and without a subscriber.
    quiet: usize,
}

impl Setting {
    const fn of(connections: usize, channels: usize) -> Self {
        Self { connections, channels, quiet: 0 }
    }

    /// Events of one batch.
    fn batch(self) -> usize {
        self.channels.min(BATCH_EVENTS_MAX)
    }

    /// The channels of one connection.
    fn channels_of(self, connection: usize) -> Vec<String> {
        let own = (self.channels / self.connections).max(1);
        (0..own).map(|at| format!("grow.{}", (connection + at * self.connections) % self.channels)).collect()
    }

    /// Deliveries of one batch.
    fn deliveries(self) -> usize {
        self.batch() * (self.connections / self.channels).max(1)
    }
}

/// What all others are compared with.
const BASE: Setting = Setting::of(1_000, 1);
const SETTINGS: [Setting; 9] = [
    BASE,
    Setting::of(100, 1),
    Setting::of(5_000, 1),
    Setting::of(18_000, 1),
    Setting { quiet: 100_000, ..BASE },
    Setting::of(1_000, 100),
    Setting::of(1_000, 1_000),
    Setting::of(1_000, 10_000),
    Setting::of(1_000, 100_000),
];

/// CPU per delivery of the hub and the floor in one round, in µs.
struct Pair {
    ours: f64,
    floor: f64,
}

pub(crate) fn measure(arguments: &Arguments, programs: &Programs) -> Outcome<Table> {
    let mut table = Table::new(
        "Growth with connections and channels",
        &[
            "connections",
            "channels",
            "quiet channels besides",
            "tidings, µs per delivery",
            "the floor, µs",
            "tidings ÷ floor",
            "÷ the first row's",
            "faults",
        ],
        &format!(
            "Server CPU per delivery at {} deliveries/s, publishing included, durability `memory`; hub and floor in \
             turns, medians of the ratios within a round. Events are published in batches of one for each channel, of \
             {} channels at most, which then take turns. With more channels than connections, each \
             connection has several and gets one event of each batch.",
            count(DELIVERIES_PER_SECOND as f64),
            count(BATCH_EVENTS_MAX as f64),
        ),
    );
    let rounds = arguments.rounds.min(3);
    let mut pairs: Vec<Vec<Pair>> = SETTINGS.iter().map(|_| Vec::new()).collect();
    let mut faults = [Faults::default(); SETTINGS.len()];
    let time = Duration::from_secs_f64(arguments.slice);
    for _ in 0..rounds {
        for ((setting, pairs), faults) in SETTINGS.iter().zip(&mut pairs).zip(&mut faults) {
            let (ours, seen) = slice(programs, Kind::Memory, *setting, time)?;
            let (floor, _) = slice(programs, Kind::Floor, *setting, time)?;
            eprintln!("  {setting:?}: {ours:.2} and {floor:.2} µs, {}", fault_text(&seen));
            pairs.push(Pair { ours, floor });
            *faults = *faults + seen;
        }
    }
    let growth = |of: &[Pair]| {
        let base = pairs[0].iter().map(|pair| pair.ours / pair.floor);
        median(of.iter().zip(base).map(|(pair, base)| pair.ours / pair.floor / base))
    };
    for ((setting, of), faults) in SETTINGS.iter().zip(&pairs).zip(&faults) {
        let number = |value: usize| count(value as f64);
        if !faults.is_none() {
            table.errors.push(format!("{setting:?}: {}", fault_text(faults)));
        }
        table.row([
            number(setting.connections),
            number(setting.channels),
            number(setting.quiet),
            figure_text(median(of.iter().map(|pair| pair.ours))),
            figure_text(median(of.iter().map(|pair| pair.floor))),
            format!("{:.2}", median(of.iter().map(|pair| pair.ours / pair.floor))),
            format!("{:.2}", growth(of)),
            fault_text(faults),
        ]);
    }
    let worst = |is_asked: &dyn Fn(&Setting) -> bool| {
        let asked = SETTINGS.iter().zip(&pairs).filter(|(setting, _)| is_asked(setting));
        asked.map(|(_, of)| growth(of)).reduce(f64::max)
    };
    let what = "growth of CPU per delivery ÷ floor, 100 to 18,000 connections";
    table.reach(what, "≤ 1.15", worst(&|setting| setting.channels == 1), |growth| growth <= 1.15);
    let what = "growth of CPU per delivery ÷ floor, 1 to 100,000 channels";
    table.reach(what, "≤ 1.15", worst(&|setting| setting.connections == 1_000), |growth| growth <= 1.15);
    Ok(table)
}

/// CPU per delivery in µs, and what was wrong.
fn slice(programs: &Programs, kind: Kind, setting: Setting, time: Duration) -> Outcome<(f64, Faults)> {
    let name = "growth";
    let server = Server::start(programs, kind, name, &[])?;
    if kind.is_ours() && setting.quiet > 0 {
        Http::connect(server.address)?.fill((0..setting.quiet).map(|at| (format!("quiet.{at}"), 0)))?;
    }
    let mut swarm = Swarm::of(&server)?;
    for connection in 0..setting.connections {
        match setting.channels_of(connection).as_slice() {
            [one] => swarm.subscribe(one, None)?,
            several => swarm.subscribe_all(several)?,
        }
    }
    swarm.open_all()?;
    swarm.add_publisher();
    let mut load = Load { setting, batches: 0, marker: Marker::new(RUN) };
    load.run(&mut swarm, WARM_UP)?;
    // What is still under way belongs to nobody.
    swarm.drain(load.deliveries())?;
    let (delivered, cpu) = (swarm.deliveries, server.cpu()?);
    load.run(&mut swarm, time)?;
    swarm.drain(load.deliveries())?;
    let per_delivery = micros(server.cpu()? - cpu) / (swarm.deliveries - delivered) as f64;
    drop(server);
    let _ = fs::remove_dir_all(programs.directory.join(name));
    Ok((per_delivery, swarm.faults))
}

struct Load {
    setting: Setting,
    batches: usize,
    marker: Marker,
}

impl Load {
    fn deliveries(&self) -> u64 {
        (self.batches * self.setting.deliveries()) as u64
    }

    fn run(&mut self, swarm: &mut Swarm, time: Duration) -> Outcome<()> {
        let tick = Duration::from_secs(1) * u32::try_from(self.setting.deliveries())?
            / u32::try_from(DELIVERIES_PER_SECOND)?;
        pace(swarm, tick, time, &mut |swarm| {
            let Setting { channels, .. } = self.setting;
            // Every connection gets one event of each batch, so each has the batch's number.
            let Event { time, .. } = swarm.event(0, 0)?;
            let event = Event { source: 0, number: self.batches as u64, time };
            let text = event.text(&self.marker, EVENT_BYTES);
            let batch = self.setting.batch();
            let first = self.batches * batch;
            let lines: String =
                (first..first + batch).map(|at| line(&format!("grow.{}", at % channels), &text)).collect();
            self.batches += 1;
            swarm.publish_batch(0, &lines);
            Ok(())
        })
    }
}
