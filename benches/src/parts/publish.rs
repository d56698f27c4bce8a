//! Publishes/s: 2,000 channels with one subscriber each, single events and batches.

use std::{
    fs,
    time::{Duration, Instant},
};

use tidings_load::Marker;

use super::{Sample, compare, in_turn, micros};
use crate::{
    Arguments, Outcome,
    event::RUN,
    http::line,
    report::Table,
    server::{Kind, Programs, Server},
    swarm::Swarm,
};

const CHANNELS: usize = 2_000;
/// Keep-alive connections that publish, one request at a time each.
const PUBLISHERS: usize = 32;
/// Events of one NDJSON body.
const BATCH: usize = 100;
/// Before anything is counted.
const WARM_UP: Duration = Duration::from_millis(500);

pub(crate) fn measure(arguments: &Arguments, programs: &Programs) -> Outcome<Vec<Table>> {
    let mut single = Table::new(
        "Publishes: 2,000 channels of one subscriber",
        &["server", "publishes/s", "deliveries/s", "server CPU per publish, µs", "faults"],
        "64-byte JSON events, one a request, over 32 keep-alive connections; each event is delivered once. In \
         parentheses: the median of the ratios to the floor, round by round.",
    );
    let samples = in_turn(&Kind::WITH_FLOOR, arguments.rounds, |kind, round| {
        slice(arguments, programs, kind, round, 1)
    })?;
    compare(&mut single, &Kind::WITH_FLOOR, &samples);

    let mut batch = Table::new(
        "Publishes in batches of 100",
        &["server", "events/s", "deliveries/s", "server CPU per event, µs", "faults"],
        "The same channels and subscribers, NDJSON bodies of 100 events for 100 channels, over 4 connections. The \
         baseline has no batches: its row is that of single events, in the same rounds.",
    );
    let samples = in_turn(&Kind::ALL, arguments.rounds, |kind, round| {
        slice(arguments, programs, kind, round, if kind == Kind::Baseline { 1 } else { BATCH })
    })?;
    compare(&mut batch, &Kind::ALL, &samples);
    Ok(vec![single, batch])
}

fn slice(
    arguments: &Arguments,
    programs: &Programs,
    kind: Kind,
    round: usize,
    batch: usize,
) -> Outcome<Sample> {
    let name = format!("publish-{kind:?}-{round}-{batch}");
    let server = Server::start(programs, kind, &name, &[])?;
    let mut swarm = Swarm::new(server.address)?;
    for channel in 0..CHANNELS {
        swarm.subscribe(&channel_name(channel), None)?;
    }
    swarm.open_all()?;
    for _ in 0..if batch == 1 { PUBLISHERS } else { 4 } {
        swarm.add_publisher();
    }
    let mut load = Load::new(batch);
    load.run(&mut swarm, WARM_UP)?;
    let (published, delivered, cpu, began) =
        (load.published, swarm.deliveries, server.cpu()?, Instant::now());
    load.run(&mut swarm, Duration::from_secs_f64(arguments.slice))?;
    let seconds = began.elapsed().as_secs_f64();
    let published = (load.published - published) as f64;
    let figures = vec![
        published / seconds,
        (swarm.deliveries - delivered) as f64 / seconds,
        micros(server.cpu()? - cpu) / published,
    ];
    swarm.drain(load.published)?;
    drop(server);
    let _ = fs::remove_dir_all(programs.directory.join(name));
    Ok(Sample { figures, faults: swarm.faults })
}

fn channel_name(channel: usize) -> String {
    format!("project.{channel}")
}

/// Publishers that send their next request as soon as the last was answered. Each has its own channels, so that the
/// order of a channel's events is known.
pub(crate) struct Load {
    batch: usize,
    pub(crate) published: u64,
    /// How many requests each publisher made.
    turns: Vec<usize>,
    numbers: Vec<u64>,
    marker: Marker,
}

impl Load {
    pub(crate) fn new(batch: usize) -> Self {
        Self { batch, published: 0, turns: Vec::new(), numbers: vec![0; CHANNELS], marker: Marker::new(RUN) }
    }

    pub(crate) fn run(&mut self, swarm: &mut Swarm, time: Duration) -> Outcome<()> {
        let began = Instant::now();
        self.turns.resize(swarm.publishers(), 0);
        while began.elapsed() < time {
            for publisher in swarm.idle_publishers() {
                self.send(swarm, publisher)?;
            }
            swarm.poll(Duration::from_millis(10))?;
        }
        Ok(())
    }

    fn send(&mut self, swarm: &mut Swarm, publisher: usize) -> Outcome<()> {
        let publishers = swarm.publishers();
        let mut lines = String::new();
        for _ in 0..self.batch {
            let own = CHANNELS / publishers;
            let channel = publisher + publishers * (self.turns[publisher] % own);
            self.turns[publisher] += 1;
            let event = swarm.event(0, self.numbers[channel])?;
            self.numbers[channel] += 1;
            self.published += 1;
            if self.batch == 1 {
                swarm.publish(publisher, &channel_name(channel), event);
                return Ok(());
            }
            lines += &line(&channel_name(channel), &event.text(&self.marker));
        }
        swarm.publish_batch(publisher, &lines);
        Ok(())
    }
}
