//! Streams of a run: opened at a bounded pace, reopened after their end, and cut by storms.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidings_load::{ClientFleet, FleetStream, ReadPace, RequestFailure, histogram};

use super::plan::{BenchPlan, ReconnectStorm};
use super::statistics::Failures;

/// Most streams that wait for their head at the start: below the backlog of most servers.
const OPENING_MAX: usize = 100;
/// Pause before a stream that the server ended is reopened; clients with a short `retry` wait as long.
const AWAY_AFTER_END: Duration = Duration::from_millis(250);
/// Pause before a refused stream is tried again.
const AWAY_AFTER_REFUSAL: Duration = Duration::from_secs(1);
/// Bytes that a slow reader takes ten times a second.
const TRICKLE_BYTES: usize = 1024;

/// All streams and their counts.
#[derive(Debug)]
pub(super) struct StreamPool {
    states: Vec<StreamStatus>,
    /// Streams to open.
    total: usize,
    began: Instant,
    /// From the first connect to the last head.
    pub(super) opening_took: Duration,
    pub(super) opened: usize,
    /// Failures of streams that did not open at the start.
    pub(super) failures: Failures,
    /// Microseconds from the connect to the head, at the start.
    pub(super) opening: Histogram<u64>,
    /// Eager streams that are open, by channel.
    pub(super) open_on: Vec<u32>,
    pub(super) open: usize,
    /// Eager streams that have been open, by channel.
    pub(super) served_on: Vec<u32>,
    /// Streams to reopen, with the time for it.
    away: Vec<(Instant, usize)>,
    pub(super) closed: ClosedCounts,
    /// Microseconds until streams were open again, and the failures meanwhile.
    pub(super) back: Histogram<u64>,
    pub(super) back_failures: Failures,
    pub(super) storms: u64,
    /// Streams cut by storms.
    pub(super) cut: u64,
    storm_at: Option<Instant>,
    /// First stream of the next storm.
    storm_from: usize,
}

/// Streams ended by the server.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ClosedCounts {
    pub(super) eager: u64,
    /// Eager streams among them whose end was announced by `tidings.end`.
    pub(super) announced: u64,
    pub(super) slow: u64,
    pub(super) stuck: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct StreamStatus {
    was_open: bool,
    down_since: Option<Instant>,
}

impl StreamPool {
    pub(super) fn new(plan: &BenchPlan) -> Self {
        let channels = plan.channels as usize;
        Self {
            states: Vec::new(),
            total: plan.connections + plan.slow + plan.stuck,
            began: Instant::now(),
            opening_took: Duration::ZERO,
            opened: 0,
            failures: Failures::default(),
            opening: histogram(),
            open_on: vec![0; channels],
            open: 0,
            served_on: vec![0; channels],
            away: Vec::new(),
            closed: ClosedCounts::default(),
            back: histogram(),
            back_failures: Failures::default(),
            storms: 0,
            cut: 0,
            storm_at: None,
            storm_from: 0,
        }
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Whether each stream has opened or failed.
    pub(super) fn are_begun(&self) -> bool {
        self.opened + self.failed() == self.total
    }

    pub(super) fn failed(&self) -> usize {
        usize::try_from(self.failures.count()).unwrap_or(usize::MAX)
    }

    /// Streams that have been open and are not now.
    pub(super) fn away(&self, fleet: &ClientFleet) -> usize {
        let streams = self.states.iter().zip(fleet.streams());
        let is_away = |(state, stream): &(&StreamStatus, &FleetStream)| {
            state.was_open && !stream.is_open() && stream.reading == ReadPace::Eager
        };
        streams.filter(is_away).count()
    }

    /// Begins as many streams as may wait at once.
    pub(super) fn begin(&mut self, plan: &BenchPlan, fleet: &mut ClientFleet) {
        let by_now = match plan.open_rate {
            Some(rate) => (self.began.elapsed().as_secs_f64() * f64::from(rate)) as usize + 1,
            None => self.total,
        };
        while self.states.len() < by_now.min(self.total)
            && self.states.len() - self.opened - self.failed() < OPENING_MAX
        {
            let at = self.states.len();
            let reading = if at < plan.connections {
                ReadPace::Eager
            } else if at < plan.connections + plan.slow {
                ReadPace::Trickle(TRICKLE_BYTES)
            } else {
                ReadPace::Stalled
            };
            let channel = u32::try_from(at % plan.channels as usize).expect("there are at most 1,000,000");
            self.states.push(StreamStatus::default());
            let request = plan.requests.stream(channel, at, b"");
            fleet.open(plan.requests.subscribe.address, channel, reading, &request);
        }
    }

    pub(super) fn note_opened(&mut self, fleet: &ClientFleet, at: usize, after: Duration) {
        let state = &mut self.states[at];
        let stream = &fleet.streams()[at];
        let (is_eager, channel) = (stream.reading == ReadPace::Eager, stream.channel as usize);
        if is_eager {
            self.open += 1;
            self.open_on[channel] += 1;
        }
        if let Some(since) = state.down_since.take() {
            self.back.saturating_record(micros(since.elapsed()));
        }
        if !state.was_open {
            state.was_open = true;
            self.opened += 1;
            self.served_on[channel] += u32::from(is_eager);
            self.opening.saturating_record(micros(after));
            self.opening_took = self.began.elapsed();
        }
    }

    pub(super) fn note_refused(&mut self, at: usize, failure: &RequestFailure) {
        if self.states[at].was_open {
            self.back_failures.note(failure);
            self.away.push((Instant::now() + AWAY_AFTER_REFUSAL, at));
        } else {
            self.failures.note(failure);
        }
    }

    pub(super) fn note_closed(&mut self, fleet: &ClientFleet, at: usize, was_announced: bool) {
        match fleet.streams()[at].reading {
            ReadPace::Stalled => self.closed.stuck += 1,
            ReadPace::Trickle(_) => self.closed.slow += 1,
            ReadPace::Eager => {
                self.closed.eager += 1;
                self.closed.announced += u64::from(was_announced);
                self.note_down(fleet, at);
                self.away.push((Instant::now() + AWAY_AFTER_END, at));
            }
        }
    }

    fn note_down(&mut self, fleet: &ClientFleet, at: usize) {
        self.states[at].down_since = Some(Instant::now());
        self.open -= 1;
        self.open_on[fleet.streams()[at].channel as usize] -= 1;
    }

    /// Reopens streams whose pause is over.
    pub(super) fn reopen_due(&mut self, plan: &BenchPlan, fleet: &mut ClientFleet) {
        if self.away.is_empty() {
            return;
        }
        let now = Instant::now();
        let due: Vec<usize> = self.away.extract_if(.., |(when, _)| *when <= now).map(|(_, at)| at).collect();
        for at in due {
            reopen(plan, fleet, at);
        }
    }

    /// Starts the clock of the first storm.
    pub(super) fn plan_storms(&mut self, storm: Option<ReconnectStorm>) {
        self.storm_at = storm.map(|storm| Instant::now() + storm.every);
    }

    /// Cuts a share of the streams and reopens all of them at once, if a storm is due.
    pub(super) fn storm(&mut self, plan: &BenchPlan, fleet: &mut ClientFleet) {
        let (Some(storm), Some(at)) = (plan.storm, self.storm_at) else { return };
        if Instant::now() < at {
            return;
        }
        self.storm_at = Some(at + storm.every);
        self.storms += 1;
        let count = (plan.connections * usize::from(storm.share)).div_ceil(100);
        let chosen = (0..count).map(|step| (self.storm_from + step) % plan.connections);
        let chosen: Vec<usize> = chosen.filter(|at| fleet.streams()[*at].is_open()).collect();
        self.storm_from = (self.storm_from + count) % plan.connections.max(1);
        for at in &chosen {
            fleet.cut(*at);
            self.note_down(fleet, *at);
        }
        self.cut += chosen.len() as u64;
        for at in chosen {
            reopen(plan, fleet, at);
        }
    }
}

fn reopen(plan: &BenchPlan, fleet: &mut ClientFleet, at: usize) {
    let stream = &fleet.streams()[at];
    let request = plan.requests.stream(stream.channel, at, stream.last_id());
    fleet.reopen(at, &request);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}
