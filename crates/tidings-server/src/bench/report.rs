//! What came of a run, for people and for programs.

use std::fmt::Write;

use serde::Serialize;
use tidings_load::Tally;

use super::course::{Course, Moment};
use super::record::{Percentiles, Reason};
use super::watch::{Memory, Used};

/// Above this share of a core the load itself is what is slow.
const OWN_SHARE_MAX: f64 = 0.9;

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
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let delivered = drained.received - begin.received;
        let plan = &course.plan;
        let mut report = Self {
            subscribe: plan.requests.subscribe.url.clone(),
            publish: plan.requests.publish.url.clone(),
            event_bytes: plan.size,
            channels: plan.channels,
            seconds,
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
                late_max_ms: course.load.late_max.as_secs_f64() * 1e3,
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

    /// The summary.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("writing to a string does not fail");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        self.connections.write(text)?;
        self.publishes.write(text, self.event_bytes, self.seconds)?;
        self.deliveries.write(text)?;
        let (latency, milliseconds) = (&self.latency_ms, |value| milliseconds(value));
        writeln!(
            text,
            "latency     p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
            milliseconds(latency.p50),
            milliseconds(latency.p90),
            milliseconds(latency.p99),
            milliseconds(latency.p999),
            milliseconds(latency.max)
        )?;
        for (name, besides) in [("slow", &self.slow), ("stuck", &self.stuck)] {
            if let Some(besides) = besides {
                besides.write(text, name)?;
            }
        }
        if let Some(storms) = &self.storms {
            storms.write(text)?;
        }
        match &self.server {
            Some(server) => server.write(text)?,
            None => writeln!(
                text,
                "server      process unknown; name it by --pid to see its CPU time and memory"
            )?,
        }
        writeln!(text, "this load   {}", self.load.text())?;
        if self.load.cpu_share.is_some_and(|share| share > OWN_SHARE_MAX) {
            writeln!(text, "            it had no time to spare, so some of the latency is its own")?;
        }
        if self.was_stopped {
            writeln!(text, "stopped early; these are the figures so far")?;
        }
        match self.faults.as_slice() {
            [] => writeln!(text, "✓ nothing was lost silently, doubled or out of order"),
            faults => faults.iter().try_for_each(|fault| writeln!(text, "✗ {fault}")),
        }
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
            seconds,
            per_second: if seconds > 0.0 { streams.opened as f64 / seconds } else { 0.0 },
            opening_ms: Percentiles::of(&streams.opening),
            closed: streams.closed.eager,
            closed_told: streams.closed.told,
            reopened: streams.back.len(),
            reopen_failures: streams.back_failures.reasons(),
            away: streams.away(&course.swarm),
        }
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let (opened, asked) = (grouped(self.opened as u64), grouped(self.asked as u64));
        let rate = grouped(self.per_second as u64);
        let (p50, max) = (milliseconds(self.opening_ms.p50), milliseconds(self.opening_ms.max));
        let seconds = self.seconds;
        writeln!(
            text,
            "streams     {opened} of {asked} opened in {seconds:.2} s: {rate}/s, each in {p50}, the slowest {max}"
        )?;
        if self.closed > 0 {
            let (closed, told, back) =
                (grouped(self.closed), grouped(self.closed_told), grouped(self.reopened));
            writeln!(
                text,
                "            {closed} ended by the server, {told} of them announced; {back} came back"
            )?;
        }
        for reason in self.failures.iter().chain(&self.reopen_failures) {
            writeln!(text, "            {} × {}", grouped(reason.count), reason.text())?;
        }
        Ok(())
    }
}

impl Publishes {
    fn write(&self, text: &mut String, bytes: usize, seconds: f64) -> std::fmt::Result {
        let (events, requests) = (grouped(self.events), grouped(self.requests));
        let rate = figure(self.events_per_second);
        let (p50, p99) = (milliseconds(self.answer_ms.p50), milliseconds(self.answer_ms.p99));
        writeln!(
            text,
            "published   {events} events of {bytes} bytes by {requests} requests in {seconds:.1} s: {rate} events/s, answered in {p50}, p99 {p99}"
        )?;
        if self.late_max_ms > 100.0 {
            writeln!(
                text,
                "            up to {} behind schedule: publishes wait for their answers",
                milliseconds(self.late_max_ms)
            )?;
        }
        for reason in &self.failures {
            writeln!(text, "            {} × {}", grouped(reason.count), reason.text())?;
        }
        Ok(())
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

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let (received, expected) = (grouped(self.received), grouped(self.expected));
        writeln!(
            text,
            "delivered   {received} of {expected} in all: {} deliveries/s",
            grouped(self.per_second as u64)
        )?;
        let Self { lost, duplicates, out_of_order, lost_told, gaps, missed_away, .. } = self;
        write!(
            text,
            "            lost {lost}, doubled {duplicates}, out of order {out_of_order}, told by {gaps} gaps {lost_told}"
        )?;
        if *missed_away > 0 {
            write!(text, ", missed while away {missed_away}")?;
        }
        writeln!(text)
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

    fn write(&self, text: &mut String, name: &str) -> std::fmt::Result {
        let (streams, closed) = (grouped(self.streams as u64), grouped(self.closed));
        write!(text, "{name:<12}{streams} streams, {closed} ended by the server")?;
        if self.received > 0 {
            let (received, lost, told) = (grouped(self.received), self.lost, self.lost_told);
            write!(text, "; {received} events received, lost {lost}, told by gaps {told}")?;
        }
        writeln!(text)
    }
}

impl Storms {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        let (p50, p99, max) =
            (milliseconds(self.back_ms.p50), milliseconds(self.back_ms.p99), milliseconds(self.back_ms.max));
        let (count, cut, back) = (grouped(self.count), grouped(self.cut), grouped(self.back_ms.count));
        writeln!(
            text,
            "storms      {count}, {cut} streams cut, {back} came back: p50 {p50}, p99 {p99}, max {max}"
        )
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
            memory_kib_per_connection: grown.map(|grown| grown / opened),
        })
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "server      {}", self.cost.text())?;
        let Memory { before, idle, peak, after } = self.memory_kib;
        let each =
            self.memory_kib_per_connection.map(|kib| format!(" ({kib:.1} KiB each)")).unwrap_or_default();
        let [before, idle, peak, after] = [before, idle, peak, after].map(mebibytes);
        writeln!(
            text,
            "            memory {before} before, {idle} with idle streams{each}, {peak} at most, {after} after"
        )
    }
}

impl Cost {
    fn new(cpu: Option<std::time::Duration>, used: Used, delivered: u64) -> Self {
        let seconds = cpu.map(|cpu| cpu.as_secs_f64());
        Self {
            cpu_seconds: seconds,
            cpu_micros_per_delivery: seconds
                .filter(|_| delivered > 0)
                .map(|cpu| cpu * 1e6 / delivered as f64),
            cpu_share: seconds.map(|cpu| cpu / used.time.as_secs_f64()),
        }
    }

    fn text(&self) -> String {
        let (Some(seconds), Some(share)) = (self.cpu_seconds, self.cpu_share) else {
            return "CPU time unknown".to_owned();
        };
        let each = self.cpu_micros_per_delivery.map(|micros| format!(", {micros:.2} µs per delivery"));
        format!("{seconds:.2} s of CPU ({:.0}% of a core){}", share * 100.0, each.unwrap_or_default())
    }
}

fn mebibytes(kib: Option<u64>) -> String {
    kib.map_or_else(|| "unknown".to_owned(), |kib| format!("{:.1} MiB", kib as f64 / 1024.0))
}

/// Milliseconds with about three digits.
fn milliseconds(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{} ms", grouped(value as u64)),
        value if value >= 10.0 => format!("{value:.1} ms"),
        value => format!("{value:.2} ms"),
    }
}

fn figure(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { grouped(value as u64) }
}

/// A number with a comma before every third digit.
pub(super) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
