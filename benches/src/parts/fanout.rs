//! Deliveries: 1,000 subscribers of one channel, at 30 events/s and as fast as it goes.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{Sample, compare, in_turn, micros};
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
const WARM_UP: Duration = Duration::from_millis(500);
const CHANNEL: &str = "project.1";

pub(crate) fn measure(arguments: &Arguments, programs: &Programs) -> Outcome<Vec<Table>> {
    let mut paced = Table::new(
        "Deliveries, paced: 1,000 subscribers, 30 events/s",
        &["server", "server CPU per delivery, µs", "p50, ms", "p99, ms", "faults"],
        "From the publish to the receipt, each event of each subscriber. In parentheses: the median of the ratios to \
         the floor, round by round: one thread, one write for each subscriber, nothing else.",
    );
    let samples = in_turn(&Kind::WITH_FLOOR, arguments.rounds, |kind, round| {
        slice(arguments, programs, kind, round, true)
    })?;
    compare(&mut paced, &Kind::WITH_FLOOR, &samples);

    let mut saturated = Table::new(
        "Deliveries, as fast as it goes: 1,000 subscribers",
        &["server", "deliveries/s", "events/s", "server CPU per delivery, µs", "faults"],
        "8 publishers, one event a request; they wait while the slowest subscriber is 256 events behind, since the \
         baseline silently loses what is more than 1,024 behind.",
    );
    let samples =
        in_turn(&Kind::ALL, arguments.rounds, |kind, round| slice(arguments, programs, kind, round, false))?;
    compare(&mut saturated, &Kind::ALL, &samples);
    Ok(vec![paced, saturated])
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
    let mut swarm = Swarm::new(server.address)?;
    for _ in 0..SUBSCRIBERS {
        swarm.subscribe(CHANNEL, None)?;
    }
    swarm.open_all()?;
    for _ in 0..if is_paced { 1 } else { PUBLISHERS } {
        swarm.add_publisher();
    }
    let mut load = Load { numbers: [0; PUBLISHERS] };
    let time = Duration::from_secs_f64(arguments.slice);
    let figures = if is_paced {
        load.paced(&mut swarm, WARM_UP)?;
        swarm.forget_latencies();
        let (delivered, cpu) = (swarm.deliveries, server.cpu()?);
        load.paced(&mut swarm, time)?;
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

struct Load {
    /// The next number of each publisher.
    numbers: [u64; PUBLISHERS],
}

impl Load {
    fn published(&self) -> u64 {
        self.numbers.iter().sum()
    }

    fn send(&mut self, swarm: &mut Swarm, publisher: usize) -> Outcome<()> {
        let event = swarm.event(publisher, self.numbers[publisher])?;
        self.numbers[publisher] += 1;
        swarm.publish(publisher, CHANNEL, event);
        Ok(())
    }

    /// One event at every tick, and everything read between.
    fn paced(&mut self, swarm: &mut Swarm, time: Duration) -> Outcome<()> {
        let began = Instant::now();
        let mut due = Duration::ZERO;
        while due < time {
            let left = due.saturating_sub(began.elapsed());
            // A tick whose predecessor was not answered yet waits for that.
            if left.is_zero() && !swarm.idle_publishers().is_empty() {
                self.send(swarm, 0)?;
                due += Duration::from_secs(1) / EVENTS_PER_SECOND;
            } else {
                swarm.poll(left.max(Duration::from_micros(100)))?;
            }
        }
        Ok(())
    }

    fn saturated(&mut self, swarm: &mut Swarm, time: Duration) -> Outcome<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            let mut room = (swarm.received_min() + WINDOW).saturating_sub(self.published());
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
