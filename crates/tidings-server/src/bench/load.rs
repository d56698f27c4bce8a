//! What is published when: paced by the clock, or as fast as it goes.

use std::str::FromStr;
use std::time::{Duration, Instant};

use tidings_load::Swarm;

use super::plan::Plan;

/// How long a publisher rests after a publish that failed.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Where nothing was received for so long, what is missing is not waited for any more.
const STALL: Duration = Duration::from_millis(200);
/// Most events a second that can be asked for.
const RATE_MAX: f64 = 10_000_000.0;

/// Events a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rate {
    Paced(f64),
    Max,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Self::Max),
            Ok(rate) if (0.0..=RATE_MAX).contains(&rate) => Ok(Self::Paced(rate)),
            _ => Err(format!("is neither max nor a number of events a second from 0 to {RATE_MAX}")),
        }
    }
}

/// Publishes.
#[derive(Debug)]
pub(super) struct Load {
    /// How many requests were due so far, by the clock.
    due: f64,
    last_due: Instant,
    /// The publisher whose turn it is.
    turn: usize,
    /// Requests that each publisher made, and when it may make the next.
    publishers: Vec<Turn>,
    /// Deliveries that are owed for what was published, and what of them is written off.
    owed: u64,
    written_off: u64,
    last_received: (u64, Instant),
    data: Vec<u8>,
    lines: Vec<u8>,
    request: Vec<u8>,
    /// Requests that were sent.
    pub(super) sent: u64,
    /// Events in them.
    pub(super) events: u64,
    /// The longest that a paced request came after its time.
    pub(super) late_max: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    requests: usize,
    not_before: Instant,
}

impl Load {
    pub(super) fn new(plan: &Plan, swarm: &mut Swarm) -> Self {
        for _ in 0..plan.publishers {
            swarm.add_publisher(plan.requests.publish.target);
        }
        let now = Instant::now();
        Self {
            due: 0.0,
            last_due: now,
            turn: 0,
            publishers: vec![Turn { requests: 0, not_before: now }; plan.publishers],
            owed: 0,
            written_off: 0,
            last_received: (0, now),
            data: Vec::new(),
            lines: Vec::new(),
            request: Vec::new(),
            sent: 0,
            events: 0,
            late_max: Duration::ZERO,
        }
    }

    /// The clock begins to run now, with a request that is due at once.
    pub(super) fn start(&mut self) {
        self.due = 1.0;
        self.last_due = Instant::now();
        self.late_max = Duration::ZERO;
    }

    /// Lets a publisher rest.
    pub(super) fn rest(&mut self, publisher: usize) {
        self.publishers[publisher].not_before = Instant::now() + REST_AFTER_FAILURE;
    }

    /// Sends what is due, and returns how long nothing more will be. `streams` are the eager ones by channel.
    pub(super) fn send(&mut self, plan: &Plan, swarm: &mut Swarm, streams: &[u32]) -> Duration {
        match plan.rate {
            Rate::Paced(rate) if rate > 0.0 => self.send_paced(plan, swarm, streams, rate),
            Rate::Paced(_) => Duration::from_millis(100),
            Rate::Max => self.send_all(plan, swarm, streams),
        }
    }

    fn send_paced(&mut self, plan: &Plan, swarm: &mut Swarm, streams: &[u32], rate: f64) -> Duration {
        let requests_per_second = rate / plan.batch as f64;
        let now = Instant::now();
        self.due += now.duration_since(self.last_due).as_secs_f64() * requests_per_second;
        self.last_due = now;
        while self.due >= 1.0 {
            let Some(publisher) = self.next_idle(swarm) else {
                // An answer makes the next one idle.
                return Duration::from_millis(1);
            };
            let late = Duration::from_secs_f64((self.due - 1.0) / requests_per_second);
            self.late_max = self.late_max.max(late);
            self.due -= 1.0;
            self.publish(plan, swarm, streams, publisher);
        }
        Duration::from_secs_f64((1.0 - self.due) / requests_per_second)
    }

    fn send_all(&mut self, plan: &Plan, swarm: &mut Swarm, streams: &[u32]) -> Duration {
        let all: u64 = streams.iter().map(|count| u64::from(*count)).sum();
        let room = plan.window * all.max(1);
        while self.outstanding(swarm) < room {
            let Some(publisher) = self.next_idle(swarm) else { break };
            self.publish(plan, swarm, streams, publisher);
        }
        Duration::from_millis(10)
    }

    /// Deliveries that are owed and did not come yet.
    fn outstanding(&mut self, swarm: &Swarm) -> u64 {
        let tally = &swarm.tally;
        let settled = tally.received + tally.lost + tally.told + tally.away + self.written_off;
        if self.last_received.0 != tally.received {
            self.last_received = (tally.received, Instant::now());
        } else if self.last_received.1.elapsed() > STALL {
            self.written_off += self.owed.saturating_sub(settled);
            self.last_received.1 = Instant::now();
        }
        self.owed.saturating_sub(settled)
    }

    /// The publisher that is free and waited longest for its turn.
    fn next_idle(&mut self, swarm: &Swarm) -> Option<usize> {
        let now = Instant::now();
        let count = self.publishers.len();
        let found = (0..count)
            .map(|step| (self.turn + step) % count)
            .find(|at| swarm.is_idle(*at) && self.publishers[*at].not_before <= now)?;
        self.turn = (found + 1) % count;
        Some(found)
    }

    fn publish(&mut self, plan: &Plan, swarm: &mut Swarm, streams: &[u32], publisher: usize) {
        self.lines.clear();
        for _ in 0..plan.batch {
            let (channel, lane) = self.next_lane(plan, publisher);
            self.data.clear();
            swarm.write_event(publisher, channel, lane, plan.size, &mut self.data);
            self.owed += u64::from(streams[channel as usize]);
            if plan.batch == 1 {
                plan.requests.one(channel, self.sent, &self.data, &mut self.request);
            } else {
                plan.requests.line(channel, &self.data, &mut self.lines);
            }
        }
        if plan.batch > 1 {
            plan.requests.batch(self.sent, &self.lines, &mut self.request);
        }
        self.sent += 1;
        self.events += plan.batch as u64;
        swarm.send(publisher, &self.request);
    }

    /// Where a publisher's next event goes. Each has channels of its own, or a lane of one where there are fewer.
    fn next_lane(&mut self, plan: &Plan, publisher: usize) -> (u32, u16) {
        let channels = plan.channels as usize;
        let turn = &mut self.publishers[publisher].requests;
        *turn += 1;
        if channels < plan.publishers {
            return lane(publisher % channels, publisher / channels);
        }
        let own = (channels - publisher).div_ceil(plan.publishers);
        lane(publisher + plan.publishers * ((*turn - 1) % own), 0)
    }
}

fn lane(channel: usize, lane: usize) -> (u32, u16) {
    let channel = u32::try_from(channel).expect("there are at most 1,000,000 channels");
    (channel, u16::try_from(lane).expect("there are at most 1,024 publishers"))
}

#[cfg(test)]
mod tests;
