//! The streams of a run: opened at a bounded pace, opened again where they end, and cut by storms.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidings_load::{Failure, Reading, Swarm};

use super::plan::{Plan, Storm};
use super::record::{Failures, histogram};

/// Streams that are being opened at once, at the start: below the backlog of most servers.
const OPENING_MAX: usize = 100;
/// How long a stream that the server ended stays away, as a client's `retry` of a second or less.
const AWAY_AFTER_END: Duration = Duration::from_millis(250);
/// How long one stays away that was refused.
const AWAY_AFTER_REFUSAL: Duration = Duration::from_secs(1);
/// What a slow reader takes ten times a second.
const TRICKLE_BYTES: usize = 1024;

/// All streams and what became of them.
#[derive(Debug)]
pub(super) struct Streams {
    states: Vec<State>,
    /// How many are to be opened in all.
    total: usize,
    began: Instant,
    /// From the first connection to the last answer.
    pub(super) opening_took: Duration,
    pub(super) opened: usize,
    /// Streams that did not open at the start, and why.
    pub(super) failures: Failures,
    /// Microseconds from connecting to the head, at the start.
    pub(super) opening: Histogram<u64>,
    /// Eager streams that are open, by channel.
    pub(super) open_on: Vec<u32>,
    pub(super) open: usize,
    /// Eager streams that were ever open, by channel.
    pub(super) served_on: Vec<u32>,
    /// When those that are away come back.
    away: Vec<(Instant, usize)>,
    pub(super) closed: Closed,
    /// Streams that were open again, the microseconds that it took, and what refused them meanwhile.
    pub(super) back: Histogram<u64>,
    pub(super) back_failures: Failures,
    pub(super) storms: u64,
    /// Streams that storms cut.
    pub(super) cut: u64,
    storm_at: Option<Instant>,
    /// Where the next storm begins among the streams.
    storm_from: usize,
}

/// Streams that the server ended, counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Closed {
    pub(super) eager: u64,
    /// Those of them that were told of by `tidings.end`.
    pub(super) told: u64,
    pub(super) slow: u64,
    pub(super) stuck: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    was_open: bool,
    down_since: Option<Instant>,
}

impl Streams {
    pub(super) fn new(plan: &Plan) -> Self {
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
            closed: Closed::default(),
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

    /// Whether each stream was answered or refused at the start.
    pub(super) fn are_begun(&self) -> bool {
        self.opened + self.failed() == self.total
    }

    pub(super) fn failed(&self) -> usize {
        usize::try_from(self.failures.count()).unwrap_or(usize::MAX)
    }

    /// Streams that were open once and are not now.
    pub(super) fn away(&self, swarm: &Swarm) -> usize {
        let is_away = |at: &usize| {
            self.states[*at].was_open && !swarm.is_open(*at) && swarm.reading(*at) == Reading::Eager
        };
        (0..self.states.len()).filter(is_away).count()
    }

    /// Begins as many new streams as may be under way at once, by now.
    pub(super) fn begin(&mut self, plan: &Plan, swarm: &mut Swarm) {
        let by_now = match plan.open_rate {
            Some(rate) => (self.began.elapsed().as_secs_f64() * f64::from(rate)) as usize + 1,
            None => self.total,
        };
        while self.states.len() < by_now.min(self.total)
            && self.states.len() - self.opened - self.failed() < OPENING_MAX
        {
            let at = self.states.len();
            let reading = if at < plan.connections {
                Reading::Eager
            } else if at < plan.connections + plan.slow {
                Reading::Trickle(TRICKLE_BYTES)
            } else {
                Reading::Stuck
            };
            let channel = u32::try_from(at % plan.channels as usize).expect("there are at most 1,000,000");
            self.states.push(State::default());
            let request = plan.requests.stream(channel, at, b"");
            swarm.open(plan.requests.subscribe.target, channel, reading, request);
        }
    }

    pub(super) fn note_opened(&mut self, swarm: &Swarm, at: usize, after: Duration) {
        let state = &mut self.states[at];
        let is_eager = swarm.reading(at) == Reading::Eager;
        let channel = swarm.channel(at) as usize;
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

    pub(super) fn note_refused(&mut self, at: usize, failure: &Failure) {
        if self.states[at].was_open {
            self.back_failures.note(failure);
            self.away.push((Instant::now() + AWAY_AFTER_REFUSAL, at));
        } else {
            self.failures.note(failure);
        }
    }

    pub(super) fn note_closed(&mut self, swarm: &Swarm, at: usize, was_told: bool) {
        match swarm.reading(at) {
            Reading::Stuck => self.closed.stuck += 1,
            Reading::Trickle(_) => self.closed.slow += 1,
            Reading::Eager => {
                self.closed.eager += 1;
                self.closed.told += u64::from(was_told);
                self.note_down(swarm, at);
                self.away.push((Instant::now() + AWAY_AFTER_END, at));
            }
        }
    }

    fn note_down(&mut self, swarm: &Swarm, at: usize) {
        self.states[at].down_since = Some(Instant::now());
        self.open -= 1;
        self.open_on[swarm.channel(at) as usize] -= 1;
    }

    /// Opens again what has been away long enough.
    pub(super) fn bring_back(&mut self, plan: &Plan, swarm: &mut Swarm) {
        if self.away.is_empty() {
            return;
        }
        let now = Instant::now();
        let due: Vec<usize> = self.away.extract_if(.., |(when, _)| *when <= now).map(|(_, at)| at).collect();
        for at in due {
            reopen(plan, swarm, at);
        }
    }

    /// Begins to count the time to the first storm.
    pub(super) fn plan_storms(&mut self, storm: Option<Storm>) {
        self.storm_at = storm.map(|storm| Instant::now() + storm.every);
    }

    /// Cuts a share of the streams and opens them all at once, where it is time for it.
    pub(super) fn storm(&mut self, plan: &Plan, swarm: &mut Swarm) {
        let (Some(storm), Some(at)) = (plan.storm, self.storm_at) else { return };
        if Instant::now() < at {
            return;
        }
        self.storm_at = Some(at + storm.every);
        self.storms += 1;
        let count = (plan.connections * usize::from(storm.share)).div_ceil(100);
        let chosen = (0..count).map(|step| (self.storm_from + step) % plan.connections);
        let chosen: Vec<usize> = chosen.filter(|at| swarm.is_open(*at)).collect();
        self.storm_from = (self.storm_from + count) % plan.connections.max(1);
        for at in &chosen {
            swarm.cut(*at);
            self.note_down(swarm, *at);
        }
        self.cut += chosen.len() as u64;
        for at in chosen {
            reopen(plan, swarm, at);
        }
    }
}

fn reopen(plan: &Plan, swarm: &mut Swarm, at: usize) {
    let request = plan.requests.stream(swarm.channel(at), at, swarm.last_id(at));
    swarm.reopen(at, request);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}
