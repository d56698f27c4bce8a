//! Report of a run, as JSON and as text.

use serde::Serialize;
use tidings_load::DeliveryCounts;

mod summary;

use super::figure_text::grouped;
use super::process_monitor::{CpuUsage, MemoryReadings};
use super::state::{BenchState, CountsSnapshot};
use super::statistics::{FailureReason, Percentiles, rounded};

/// Figures of one run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BenchReport {
    subscribe: String,
    publish: String,
    event_bytes: usize,
    channels: u32,
    seconds: f64,
    was_stopped: bool,
    connections: ConnectionFigures,
    publishes: PublishFigures,
    deliveries: DeliveryFigures,
    /// From publish to receipt.
    latency_ms: Percentiles,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow: Option<SlowReaderFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stuck: Option<SlowReaderFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storms: Option<StormFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<ServerFigures>,
    load: CpuCost,
    /// Share of all cores that other programs of this machine used.
    others_cpu_share: Option<f64>,
    /// Faults that make the exit code 1.
    pub(crate) faults: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionFigures {
    asked: usize,
    opened: usize,
    failed: usize,
    failures: Vec<FailureReason>,
    seconds: f64,
    per_second: f64,
    /// From the connect to the head of the response.
    opening_ms: Percentiles,
    /// Streams ended by the server, and those of them that it announced.
    closed: u64,
    closed_told: u64,
    /// Streams opened again, also after storms.
    reopened: u64,
    reopen_failures: Vec<FailureReason>,
    /// Streams that are not open at the end.
    away: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PublishFigures {
    /// In the measured seconds.
    requests: u64,
    events: u64,
    events_per_second: f64,
    /// In the whole run, with warm-up.
    requests_in_all: u64,
    events_in_all: u64,
    answered: u64,
    failed: u64,
    failures: Vec<FailureReason>,
    /// From the request to its response.
    answer_ms: Percentiles,
    /// Longest delay of a paced request.
    late_max_ms: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryFigures {
    /// Events certainly published times the streams of their channel, in the whole run.
    expected: u64,
    received: u64,
    /// In the measured seconds.
    per_second: f64,
    /// Without a gap.
    lost: u64,
    /// Reported by `tidings.gap`.
    lost_told: u64,
    /// Published while a stream was away from a server that sends no ids.
    missed_away: u64,
    duplicates: u64,
    out_of_order: u64,
    gaps: u64,
    /// Events that do not belong to this run.
    foreign: u64,
}

/// Readers besides the eager ones.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SlowReaderFigures {
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
struct StormFigures {
    count: u64,
    cut: u64,
    /// From the cut until the stream was open again.
    back_ms: Percentiles,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerFigures {
    pids: Vec<u32>,
    #[serde(flatten)]
    cost: CpuCost,
    memory_kib: MemoryReadings,
    memory_kib_per_connection: Option<f64>,
}

/// CPU time of the measured seconds and the drain.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct CpuCost {
    cpu_seconds: Option<f64>,
    cpu_micros_per_delivery: Option<f64>,
    /// Share of one core.
    cpu_share: Option<f64>,
}

impl BenchReport {
    /// Builds the report from the state and its counts at the begin, end and drain of the measurement.
    pub(super) fn new(
        state: &BenchState,
        moments: [CountsSnapshot; 3],
        used: CpuUsage,
        was_stopped: bool,
    ) -> Self {
        let [begin, end, drained] = moments;
        let seconds = end.at.duration_since(begin.at).as_secs_f64();
        let per_second = |count: u64| if seconds > 0.0 { rounded(count as f64 / seconds) } else { 0.0 };
        let delivered = drained.received - begin.received;
        let plan = &state.plan;
        let mut report = Self {
            subscribe: without_query(&plan.requests.subscribe.url),
            publish: without_query(&plan.requests.publish.url),
            event_bytes: plan.size,
            channels: plan.channels,
            seconds: rounded(seconds),
            was_stopped,
            connections: ConnectionFigures::new(state),
            publishes: PublishFigures {
                requests: end.requests - begin.requests,
                events: end.events - begin.events,
                events_per_second: per_second(end.events - begin.events),
                requests_in_all: state.load.sent,
                events_in_all: state.load.events,
                answered: state.fleet.responses,
                failed: state.publish_failures.count(),
                failures: state.publish_failures.reasons(),
                answer_ms: Percentiles::of(&state.fleet.response_latency),
                late_max_ms: rounded(state.load.late_max.as_secs_f64() * 1e3),
            },
            deliveries: DeliveryFigures::new(state, per_second(end.received - begin.received)),
            latency_ms: Percentiles::of(&state.fleet.latency),
            slow: (plan.slow > 0).then(|| {
                SlowReaderFigures::new(plan.slow, state.streams.closed.slow, &state.fleet.slow_counts)
            }),
            stuck: (plan.stuck > 0).then(|| {
                SlowReaderFigures::new(plan.stuck, state.streams.closed.stuck, &DeliveryCounts::default())
            }),
            storms: plan.storm.map(|_| StormFigures {
                count: state.streams.storms,
                cut: state.streams.cut,
                back_ms: Percentiles::of(&state.streams.back),
            }),
            server: ServerFigures::new(state, used, delivered),
            load: CpuCost::new(used.own, used, delivered),
            others_cpu_share: used.others_share.map(rounded),
            faults: Vec::new(),
        };
        report.faults = report.find_faults(state);
        report
    }

    fn find_faults(&self, state: &BenchState) -> Vec<String> {
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
        if state.is_server_gone {
            faults.push("the server has gone: no stream, no delivery and no answer for 3 s".to_owned());
        } else if self.publishes.requests_in_all > 0 && self.publishes.answered == 0 {
            faults.push("no publish was answered with success".to_owned());
        }
        faults
    }

    /// Returns one JSON object, with a line end.
    pub(crate) fn json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("numbers and texts always serialise");
        format!("{text}\n")
    }
}

impl ConnectionFigures {
    fn new(state: &BenchState) -> Self {
        let streams = &state.streams;
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
            closed_told: streams.closed.announced,
            reopened: streams.back.len(),
            reopen_failures: streams.back_failures.reasons(),
            away: streams.away(&state.fleet),
        }
    }
}

impl DeliveryFigures {
    fn new(state: &BenchState, per_second: f64) -> Self {
        let DeliveryCounts { received, lost, reported, away, repeated, reordered, gaps, foreign } =
            state.fleet.counts;
        let served = state.streams.served_on.iter().zip(0..);
        let expected =
            served.map(|(streams, channel)| u64::from(*streams) * state.fleet.sequences.published(channel));
        Self {
            expected: expected.sum(),
            received,
            per_second,
            lost,
            lost_told: reported,
            missed_away: away,
            duplicates: repeated,
            out_of_order: reordered,
            gaps,
            foreign,
        }
    }
}

impl SlowReaderFigures {
    fn new(streams: usize, closed: u64, counts: &DeliveryCounts) -> Self {
        let DeliveryCounts { received, lost, reported, repeated, reordered, .. } = *counts;
        Self {
            streams,
            closed,
            received,
            lost,
            lost_told: reported,
            duplicates: repeated,
            out_of_order: reordered,
        }
    }
}

impl ServerFigures {
    fn new(state: &BenchState, used: CpuUsage, delivered: u64) -> Option<Self> {
        let pids = state.monitor.ids();
        if pids.is_empty() {
            return None;
        }
        let memory = state.monitor.memory();
        let opened = state.streams.opened.max(1) as f64;
        let grown = memory.idle.zip(memory.before).map(|(idle, before)| idle.saturating_sub(before) as f64);
        Some(Self {
            pids,
            cost: CpuCost::new(used.server, used, delivered),
            memory_kib: memory,
            memory_kib_per_connection: grown.map(|grown| rounded(grown / opened)),
        })
    }
}

impl CpuCost {
    fn new(cpu: Option<std::time::Duration>, used: CpuUsage, delivered: u64) -> Self {
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

/// Removes the query of a URL, which may hold a token.
fn without_query(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}
