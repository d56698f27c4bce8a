//! Schedule of publishes: paced by the clock, or as fast as possible.

use std::time::{Duration, Instant};

use tidings_load::ClientFleet;

use super::args::PublishRate;
use super::plan::BenchPlan;

/// Pause of a publisher after a failed publish.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Time without a delivery after which missing deliveries are written off.
const STALL: Duration = Duration::from_millis(200);

/// Schedule and counts of publishes.
#[derive(Debug)]
pub(super) struct PublishLoad {
    /// Requests due by the clock and not sent yet.
    due: f64,
    last_due: Instant,
    /// Publisher to try first.
    next_publisher: usize,
    /// Time before which each publisher pauses.
    not_before: Vec<Instant>,
    /// Deliveries expected of all published events, and those of them that are written off.
    owed: u64,
    written_off: u64,
    last_received: (u64, Instant),
    data: Vec<u8>,
    lines: Vec<u8>,
    request: Vec<u8>,
    /// Requests sent.
    pub(super) sent: u64,
    /// Events in them.
    pub(super) events: u64,
    /// Longest delay of a paced request.
    pub(super) late_max: Duration,
}

impl PublishLoad {
    pub(super) fn new(plan: &BenchPlan, fleet: &mut ClientFleet) -> Self {
        for _ in 0..plan.publishers {
            fleet.add_publisher(plan.requests.publish.address);
        }
        let now = Instant::now();
        Self {
            due: 0.0,
            last_due: now,
            next_publisher: 0,
            not_before: vec![now; plan.publishers],
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

    /// Starts the clock; the first request is due at once.
    pub(super) fn start(&mut self) {
        self.due = 1.0;
        self.last_due = Instant::now();
        self.late_max = Duration::ZERO;
    }

    /// Pauses a publisher.
    pub(super) fn rest(&mut self, publisher: usize) {
        self.not_before[publisher] = Instant::now() + REST_AFTER_FAILURE;
    }

    /// Sends the requests that are due; returns the time until the next one. `streams` counts eager streams by
    /// channel.
    pub(super) fn send(&mut self, plan: &BenchPlan, fleet: &mut ClientFleet, streams: &[u32]) -> Duration {
        match plan.rate {
            PublishRate::Paced(rate) if rate > 0.0 => self.send_paced(plan, fleet, streams, rate),
            PublishRate::Paced(_) => Duration::from_millis(100),
            PublishRate::Max => self.send_all(plan, fleet, streams),
        }
    }

    fn send_paced(
        &mut self,
        plan: &BenchPlan,
        fleet: &mut ClientFleet,
        streams: &[u32],
        rate: f64,
    ) -> Duration {
        let requests_per_second = rate / plan.batch as f64;
        let now = Instant::now();
        self.due += now.duration_since(self.last_due).as_secs_f64() * requests_per_second;
        self.last_due = now;
        while self.due >= 1.0 {
            let Some(publisher) = self.next_idle(fleet) else {
                // The next response makes a publisher idle.
                return Duration::from_millis(1);
            };
            let late = Duration::from_secs_f64((self.due - 1.0) / requests_per_second);
            self.late_max = self.late_max.max(late);
            self.due -= 1.0;
            self.publish(plan, fleet, streams, publisher);
        }
        Duration::from_secs_f64((1.0 - self.due) / requests_per_second)
    }

    fn send_all(&mut self, plan: &BenchPlan, fleet: &mut ClientFleet, streams: &[u32]) -> Duration {
        let all: u64 = streams.iter().map(|count| u64::from(*count)).sum();
        let room = plan.window * all.max(1);
        while self.outstanding(fleet) < room {
            let Some(publisher) = self.next_idle(fleet) else { break };
            self.publish(plan, fleet, streams, publisher);
        }
        Duration::from_millis(10)
    }

    /// Expected deliveries that have not arrived.
    fn outstanding(&mut self, fleet: &ClientFleet) -> u64 {
        let counts = &fleet.counts;
        let settled = counts.received + counts.lost + counts.reported + counts.away + self.written_off;
        if self.last_received.0 != counts.received {
            self.last_received = (counts.received, Instant::now());
        } else if self.last_received.1.elapsed() > STALL {
            self.written_off += self.owed.saturating_sub(settled);
            self.last_received.1 = Instant::now();
        }
        self.owed.saturating_sub(settled)
    }

    /// Returns an idle publisher, in round-robin order.
    fn next_idle(&mut self, fleet: &ClientFleet) -> Option<usize> {
        let now = Instant::now();
        let count = self.not_before.len();
        let found = (0..count)
            .map(|step| (self.next_publisher + step) % count)
            .find(|at| fleet.publishers()[*at].is_idle() && self.not_before[*at] <= now)?;
        self.next_publisher = (found + 1) % count;
        Some(found)
    }

    fn publish(&mut self, plan: &BenchPlan, fleet: &mut ClientFleet, streams: &[u32], publisher: usize) {
        self.lines.clear();
        for _ in 0..plan.batch {
            self.data.clear();
            let channel = fleet.write_event(publisher, plan.size, &mut self.data).channel;
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
        fleet.send(publisher, &self.request);
    }
}

#[cfg(test)]
mod tests;
