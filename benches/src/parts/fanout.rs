//! Deliveries: 1,000 subscribers of one channel, at 30 events/s and as fast as it goes.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{Sample, Turns, micros};
use crate::{
    Arguments, Outcome,
    report::Table,
    server::{Kind, Programs, Server},
    swarm::Swarm,
};

const SUBSCRIBERS: usize = 1_000;
const EVENTS_PER_SECOND: u32 = 30;
/// Publishers where it goes as fast as it can.
const PUBLISHERS: usize = 8;
/// The slowest subscriber is never more events behind than this, so that nothing has to be lost by anyone: the
/// baseline holds 1,024.
const WINDOW: u64 = 256;
/// Pushpin cuts streams off that are this far behind.
const PUSHPIN_WINDOW: u64 = 16;
const WARM_UP: Duration = Duration::from_millis(500);
const CHANNEL: &str = "project.1";

/// The floor last: all others are its multiples.
const KINDS: [Kind; 8] = [
    Kind::Memory,
    Kind::Before,
    Kind::Interval,
    Kind::Fsync,
    Kind::Baseline,
    Kind::Nchan,
    Kind::Pushpin,
    Kind::Floor,
];

pub(crate) fn measure(arguments: &Arguments, programs: &Programs) -> Outcome<Vec<Table>> {
    Ok(vec![paced(arguments, programs)?, saturated(arguments, programs)?])
}

fn paced(arguments: &Arguments, programs: &Programs) -> Outcome<Table> {
    let mut table = Table::new(
        "Deliveries, paced: 1,000 subscribers, 30 events/s",
        &["server", "server CPU per delivery, µs", "p50, ms", "p99, ms", "faults"],
        "From the publish to the receipt, each event of each subscriber. In parentheses: the median of the ratios to \
         the floor, round by round: one thread, one write for each subscriber, nothing else.",
    );
    let turns = Turns::take(&KINDS, arguments, |kind, round| slice(arguments, programs, kind, round, true))?;
    turns.fill(&mut table);
    let ours = |figure| turns.ratio(Kind::Interval, Kind::Floor, figure);
    let what = "CPU per delivery, paced, 1,000 subscribers, × floor";
    table.reach(what, "≤ 1.1", ours(0), |ratio| ratio <= 1.1);
    table.reach("p99, paced, × floor", "≤ 1.2", ours(2), |ratio| ratio <= 1.2);
    table
        .panels
        .push(turns.panel("Server CPU per delivery, 30 events/s to 1,000 subscribers: less is better", 0));
    table.panels.push(turns.panel("p50 from publish to receipt, the same: less is better", 1));
    Ok(table)
}

fn saturated(arguments: &Arguments, programs: &Programs) -> Outcome<Table> {
    let mut table = Table::new(
        "Deliveries, as fast as it goes: 1,000 subscribers",
        &["server", "deliveries/s", "events/s", "server CPU per delivery, µs", "faults"],
        "8 publishers, one event a request; they wait while the slowest subscriber is 256 events behind, since the \
         baseline silently loses what is more than 1,024 behind; for Pushpin 16, since it cuts off who is much further \
         behind. In parentheses: ratios to the floor.",
    );
    let turns = Turns::take(&KINDS, arguments, |kind, round| slice(arguments, programs, kind, round, false))?;
    turns.fill(&mut table);
    let others = [Kind::Baseline, Kind::Nchan, Kind::Pushpin];
    // What was lost was not delivered.
    let is_sound = |kind: &Kind| turns.samples(*kind).iter().all(|sample| sample.faults.is_none());
    let sound = others.into_iter().filter(is_sound);
    let rates = sound.filter_map(|kind| Some((turns.median(kind, 0)?, kind)));
    if let Some((_, best)) = rates.max_by(|one, other| one.0.total_cmp(&other.0)) {
        let ours = |figure| turns.ratio(Kind::Interval, best, figure);
        let what = "deliveries/s, saturated, one core, × the best of the others";
        table.reach(what, "≥ 3", ours(0), |ratio| ratio >= 3.0);
        let what = "CPU per delivery, saturated, × the same";
        table.reach(what, "≤ 0.4", ours(2), |ratio| ratio <= 0.4);
    }
    table
        .panels
        .push(turns.panel("Deliveries/s to 1,000 subscribers, as fast as it goes: more is better", 0));
    Ok(table)
}

fn slice(
    arguments: &Arguments,
    programs: &Programs,
    kind: Kind,
    round: usize,
    is_paced: bool,
) -> Outcome<Sample> {
    let name = format!("fanout-{kind:?}-{round}-{is_paced}");
    let server = Server::start(programs, kind, &name, &[])?;
    let mut swarm = Swarm::of(&server)?;
    for _ in 0..SUBSCRIBERS {
        swarm.subscribe(CHANNEL, None)?;
    }
    swarm.open_all()?;
    for _ in 0..if is_paced { 1 } else { PUBLISHERS } {
        swarm.add_publisher();
    }
    let mut load = Load::new(CHANNEL);
    if kind == Kind::Pushpin {
        load.window = PUSHPIN_WINDOW;
    }
    let time = Duration::from_secs_f64(arguments.slice);
    let figures = if is_paced {
        load.paced(&mut swarm, EVENTS_PER_SECOND, WARM_UP)?;
        swarm.forget_latencies();
        let (delivered, cpu) = (swarm.deliveries, server.cpu()?);
        load.paced(&mut swarm, EVENTS_PER_SECOND, time)?;
        let per_delivery = micros(server.cpu()? - cpu) / (swarm.deliveries - delivered) as f64;
        let quantile = |at| swarm.latency().value_at_quantile(at) as f64 / 1e3;
        vec![per_delivery, quantile(0.5), quantile(0.99)]
    } else {
        load.saturated(&mut swarm, WARM_UP)?;
        let (delivered, cpu, began) = (swarm.deliveries, server.cpu()?, Instant::now());
        load.saturated(&mut swarm, time)?;
        let (seconds, delivered) = (began.elapsed().as_secs_f64(), (swarm.deliveries - delivered) as f64);
        vec![
            delivered / seconds,
            delivered / seconds / SUBSCRIBERS as f64,
            micros(server.cpu()? - cpu) / delivered,
        ]
    };
    swarm.drain(load.published() * SUBSCRIBERS as u64)?;
    drop(server);
    let _ = fs::remove_dir_all(programs.directory.join(name));
    Ok(Sample { figures, faults: swarm.faults })
}

/// Publishers of one channel.
pub(super) struct Load {
    channel: &'static str,
    /// Events that the slowest subscriber may be behind.
    window: u64,
    /// The next number of each publisher.
    numbers: [u64; PUBLISHERS],
}

impl Load {
    pub(super) fn new(channel: &'static str) -> Self {
        Self { channel, window: WINDOW, numbers: [0; PUBLISHERS] }
    }

    pub(super) fn published(&self) -> u64 {
        self.numbers.iter().sum()
    }

    /// Sends the next event of a publisher.
    pub(super) fn send(&mut self, swarm: &mut Swarm, publisher: usize) -> Outcome<()> {
        let event = swarm.event(publisher, self.numbers[publisher])?;
        self.numbers[publisher] += 1;
        swarm.publish(publisher, self.channel, event);
        Ok(())
    }

    /// One event of one publisher at every tick, and everything read between.
    pub(super) fn paced(&mut self, swarm: &mut Swarm, per_second: u32, time: Duration) -> Outcome<()> {
        pace(swarm, Duration::from_secs(1) / per_second, time, &mut |swarm| self.send(swarm, 0))
    }

    fn saturated(&mut self, swarm: &mut Swarm, time: Duration) -> Outcome<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            let mut room = (swarm.received_min() + self.window).saturating_sub(self.published());
            for publisher in swarm.idle_publishers() {
                if room > 0 {
                    self.send(swarm, publisher)?;
                    room -= 1;
                }
            }
            swarm.poll(Duration::from_millis(10))?;
        }
        Ok(())
    }
}

/// Sends at every tick, and reads everything between. A tick whose predecessor was not answered yet waits for that.
pub(super) fn pace(
    swarm: &mut Swarm,
    tick: Duration,
    time: Duration,
    send: &mut impl FnMut(&mut Swarm) -> Outcome<()>,
) -> Outcome<()> {
    let began = Instant::now();
    let mut due = Duration::ZERO;
    while due < time {
        let left = due.saturating_sub(began.elapsed());
        if left.is_zero() && !swarm.idle_publishers().is_empty() {
            send(swarm)?;
            due += tick;
        } else {
            swarm.poll(left.max(Duration::from_micros(100)))?;
        }
    }
    Ok(())
}
