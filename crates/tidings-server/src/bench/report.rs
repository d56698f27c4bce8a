//! What came of a run, for people and for programs.

use serde::Serialize;
use tidings_load::Tally;

mod summary;

pub(super) use summary::grouped;

use super::course::{Course, Moment};
use super::record::{Percentiles, Reason, rounded};
use super::watch::{Memory, Used};

/// A whole run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    subscribe: String,
    publish: String,
    event_bytes: usize,
    channels: u32,
    seconds: f64,
    was_stopped: bool,
    connections: Connections,
    publishes: Publishes,
    deliveries: Deliveries,
    /// From publish to receipt.
    latency_ms: Percentiles,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow: Option<Besides>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stuck: Option<Besides>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storms: Option<Storms>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Server>,
    load: Cost,
    /// What other programs of this machine used meanwhile, of all its cores.
    others_cpu_share: Option<f64>,
    /// What makes the exit code 1; empty where all is well.
    pub(crate) faults: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Connections {
    asked: usize,
    opened: usize,
    failed: usize,
    failures: Vec<Reason>,
    seconds: f64,
    per_second: f64,
    /// From connecting to the head of the answer.
    opening_ms: Percentiles,
    /// Ended by the server, and those of them that were told to end.
    closed: u64,
    closed_told: u64,
    /// Opened once more, after storms too.
    reopened: u64,
    reopen_failures: Vec<Reason>,
    /// Not open at the end.
    away: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Publishes {
    /// In the seconds measured.
    requests: u64,
    events: u64,
    events_per_second: f64,
    /// In the whole run, warm-up included.
    requests_in_all: u64,
    events_in_all: u64,
    answered: u64,
    failed: u64,
    failures: Vec<Reason>,
    /// From the request to its answer.
    answer_ms: Percentiles,
    /// The longest that a paced request came after its time.
    late_max_ms: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Deliveries {
    /// Events that were surely published, times the streams of their channel, in the whole run.
    expected: u64,
    received: u64,
    /// In the seconds measured.
    per_second: f64,
    /// Silently.
    lost: u64,
    /// Told of by `tidings.gap`.
    lost_told: u64,
    /// Published while a stream was away from a server that gives no ids.
    missed_away: u64,
    duplicates: u64,
    out_of_order: u64,
    gaps: u64,
    /// Events that are none of this run.
    foreign: u64,
}

/// Readers beside those that are measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Besides {
    streams: usize,
    /// Ended by the server.
    closed: u64,
    received: u64,
    lost: u64,
    lost_told: u64,
    duplicates: u64,
    out_of_order: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Storms {
    count: u64,
    cut: u64,
    /// From the cut until the stream was open again.
    back_ms: Percentiles,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    pids: Vec<u32>,
    #[serde(flatten)]
    cost: Cost,
    memory_kib: Memory,
    memory_kib_per_connection: Option<f64>,
}

/// CPU time while it was measured and drained.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    cpu_seconds: Option<f64>,
    cpu_micros_per_delivery: Option<f64>,
    /// Of one core.
    cpu_share: Option<f64>,
}

impl Report {
    /// Puts together what a run counted, from the moments when it was begun, ended and drained.
    pub(super) fn new(course: &Course, moments: [Moment; 3], used: Used, was_stopped: bool) -> Self {
        let [begin, end, drained] = moments;
        let seconds = end.at.duration_since(begin.at).as_secs_f64();
        let per_second = |count: u64| if seconds > 0.0 { rounded(count as f64 / seconds) } else { 0.0 };
        let delivered = drained.received - begin.received;
        let plan = &course.plan;
        let mut report = Self {
            subscribe: without_query(&plan.requests.subscribe.url),
            publish: without_query(&plan.requests.publish.url),
            event_bytes: plan.size,
            channels: plan.channels,
            seconds: rounded(seconds),
            was_stopped,
            connections: Connections::new(course),
            publishes: Publishes {
                requests: end.requests - begin.requests,
                events: end.events - begin.events,
                events_per_second: per_second(end.events - begin.events),
                requests_in_all: course.load.sent,
                events_in_all: course.load.events,
                answered: course.swarm.answers,
                failed: course.publish_failures.count(),
                failures: course.publish_failures.reasons(),
                answer_ms: Percentiles::of(&course.swarm.answer_latency),
                late_max_ms: rounded(course.load.late_max.as_secs_f64() * 1e3),
            },
            deliveries: Deliveries::new(course, per_second(end.received - begin.received)),
            latency_ms: Percentiles::of(&course.swarm.latency),
            slow: (plan.slow > 0)
                .then(|| Besides::new(plan.slow, course.streams.closed.slow, &course.swarm.crawling_tally)),
            stuck: (plan.stuck > 0)
                .then(|| Besides::new(plan.stuck, course.streams.closed.stuck, &Tally::default())),
            storms: plan.storm.map(|_| Storms {
                count: course.streams.storms,
                cut: course.streams.cut,
                back_ms: Percentiles::of(&course.streams.back),
            }),
            server: Server::new(course, used, delivered),
            load: Cost::new(used.own, used, delivered),
            others_cpu_share: used.others_share.map(rounded),
            faults: Vec::new(),
        };
        report.faults = report.judge(course);
        report
    }

    fn judge(&self, course: &Course) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |count: u64, what: &str| {
            if count > 0 {
                faults.push(format!("{} {what}", grouped(count)));
            }
        };
        fault(self.deliveries.lost, "events were lost silently");
        fault(self.deliveries.duplicates, "events came twice");
        fault(self.deliveries.out_of_order, "events came out of order");
        if let Some(slow) = &self.slow {
            fault(slow.lost, "events were lost silently by slow readers");
            fault(slow.duplicates, "events came twice to slow readers");
            fault(slow.out_of_order, "events came out of order to slow readers");
        }
        fault(self.connections.failed as u64, "streams did not open");
        fault(self.connections.away as u64, "streams ended and were not back at the end");
        if course.is_server_gone {
            faults.push("the server has gone: no stream, no delivery and no answer for 3 s".to_owned());
        } else if self.publishes.requests_in_all > 0 && self.publishes.answered == 0 {
            faults.push("no publish was answered with success".to_owned());
        }
        faults
    }

    /// One JSON object, and a line end.
    pub(crate) fn json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("numbers and texts always serialise");
        format!("{text}\n")
    }
}

impl Connections {
    fn new(course: &Course) -> Self {
        let streams = &course.streams;
        let seconds = streams.opening_took.as_secs_f64();
        Self {
            asked: streams.total(),
            opened: streams.opened,
            failed: streams.failed(),
            failures: streams.failures.reasons(),
            seconds: rounded(seconds),
            per_second: if seconds > 0.0 { rounded(streams.opened as f64 / seconds) } else { 0.0 },
            opening_ms: Percentiles::of(&streams.opening),
            closed: streams.closed.eager,
            closed_told: streams.closed.told,
            reopened: streams.back.len(),
            reopen_failures: streams.back_failures.reasons(),
            away: streams.away(&course.swarm),
        }
    }
}

impl Deliveries {
    fn new(course: &Course, per_second: f64) -> Self {
        let Tally { received, lost, told, away, repeated, reordered, gaps, foreign } = course.swarm.tally;
        let served = course.streams.served_on.iter().zip(0..);
        let expected =
            served.map(|(streams, channel)| u64::from(*streams) * course.swarm.ledger.published(channel));
        Self {
            expected: expected.sum(),
            received,
            per_second,
            lost,
            lost_told: told,
            missed_away: away,
            duplicates: repeated,
            out_of_order: reordered,
            gaps,
            foreign,
        }
    }
}

impl Besides {
    fn new(streams: usize, closed: u64, tally: &Tally) -> Self {
        let Tally { received, lost, told, repeated, reordered, .. } = *tally;
        Self {
            streams,
            closed,
            received,
            lost,
            lost_told: told,
            duplicates: repeated,
            out_of_order: reordered,
        }
    }
}

impl Server {
    fn new(course: &Course, used: Used, delivered: u64) -> Option<Self> {
        let pids = course.watch.ids();
        if pids.is_empty() {
            return None;
        }
        let memory = course.watch.memory();
        let opened = course.streams.opened.max(1) as f64;
        let grown = memory.idle.zip(memory.before).map(|(idle, before)| idle.saturating_sub(before) as f64);
        Some(Self {
            pids,
            cost: Cost::new(used.server, used, delivered),
            memory_kib: memory,
            memory_kib_per_connection: grown.map(|grown| rounded(grown / opened)),
        })
    }
}

impl Cost {
    fn new(cpu: Option<std::time::Duration>, used: Used, delivered: u64) -> Self {
        let seconds = cpu.map(|cpu| cpu.as_secs_f64());
        Self {
            cpu_seconds: seconds,
            cpu_micros_per_delivery: seconds
                .filter(|_| delivered > 0)
                .map(|cpu| rounded(cpu * 1e6 / delivered as f64)),
            cpu_share: seconds.map(|cpu| rounded(cpu / used.time.as_secs_f64())),
        }
    }
}

/// A URL as it may be shown: a query may hold a token.
fn without_query(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}
