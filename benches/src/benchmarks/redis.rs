//! Two nodes over one Redis: appends and their cost, beside `redis-benchmark` on the same Redis.

use tidings_load::{Stamp, StampCodec};
use tidings_testkit::RespConnection;

use super::publish::{BATCH, BATCH_PUBLISHERS, CHANNELS, PUBLISHERS, WARM_UP};
use crate::numbers::micros;
use crate::prelude::*;
use crate::requests::{EVENT_BYTES, RUN};
use crate::server::{PinnedRedis, cpu_time};

/// Events a second for latency.
const PACE: f64 = 200.0;
/// Assumed rates of `redis-benchmark`: they make its runs about one turn long.
const SINGLE_RATE: f64 = 40_000.0;
const PIPELINED_RATE: f64 = 200_000.0;

/// A workload of one turn.
#[derive(Debug, Clone, Copy)]
enum RedisWorkload {
    /// Publishers at both nodes, and events of each request.
    Nodes { publishers: usize, batch: Option<usize> },
    /// `redis-benchmark` with this many clients, each with `pipeline` commands in flight.
    Benchmark { clients: usize, pipeline: usize, is_append: bool },
}

/// The last workload is the reference: it appends as many entries at once.
const WORKLOADS: [(&str, RedisWorkload); 6] = {
    use RedisWorkload::{Benchmark, Nodes};
    [
        ("two nodes, single events, 32 connections", Nodes { publishers: PUBLISHERS, batch: None }),
        ("two nodes, single events, 200 connections", Nodes { publishers: 200, batch: None }),
        (
            "two nodes, batches of 100, 4 connections",
            Nodes { publishers: BATCH_PUBLISHERS, batch: Some(BATCH) },
        ),
        ("`XADD`, 32 connections", Benchmark { clients: PUBLISHERS, pipeline: 1, is_append: true }),
        ("`PUBLISH -P 100`, 4 connections", Benchmark { clients: 4, pipeline: BATCH, is_append: false }),
        ("`XADD -P 100`, 4 connections", Benchmark { clients: 4, pipeline: BATCH, is_append: true }),
    ]
};

pub(super) fn rates(context: &BenchContext) -> BenchResult<FigureTable> {
    let cases = WORKLOADS.map(|(name, workload)| Case::new(name, ServerKind::Memory, workload));
    let rounds = Comparison::measure(context.arguments.rounds, cases, |workload| match *workload {
        RedisWorkload::Nodes { publishers, batch } => publish(context, publishers, batch),
        RedisWorkload::Benchmark { clients, pipeline, is_append } => {
            benchmark(context, clients, pipeline, is_append)
        }
    })?;
    let mut table = FigureTable::new(
        "Publishes over Redis: two nodes beside `redis-benchmark`",
        &[
            "workload",
            "events/s",
            "Redis CPU per event, µs",
            "events per CPU second of Redis",
            "events per call",
            "CPU of one node per event, µs",
            "of the other",
            "connections to Redis",
            "faults",
        ],
        "One Redis and two nodes on the first core, the load on the second. 2,000 channels of one subscriber, half of them \
         at the node that is not published at; single events, or NDJSON bodies of 100. CPU of Redis includes the reads of \
         the nodes. `redis-benchmark` writes entries of the same two fields with the same bytes into a stream, or \
         publishes the same data without subscribers. In parentheses: the median of the ratios to `XADD -P 100`, round by \
         round.",
    );
    rounds.fill(&mut table, 0..3);
    Ok(table)
}

/// Starts two nodes over a Redis.
fn start_nodes(context: &BenchContext, redis: &PinnedRedis) -> BenchResult<[BenchServer; 2]> {
    let url = redis.server.url();
    let settings = [("TIDINGS_REDIS_URL", url.as_str())];
    Ok([
        BenchServer::start(context, ServerKind::Memory, &settings)?,
        BenchServer::start(context, ServerKind::Memory, &settings)?,
    ])
}

fn publish(context: &BenchContext, publishers: usize, batch: Option<usize>) -> BenchResult<Sample> {
    let redis = PinnedRedis::start()?;
    let [one, other] = start_nodes(context, &redis)?;
    let mut fleet = BenchFleet::new(&[&one, &other], CHANNELS, publishers)?;
    fleet.batch = batch;
    for channel in 0..CHANNELS {
        // Publishers use both nodes in turn: half of the channels are subscribed at the publisher's node.
        fleet.address = [&one, &other][channel / PUBLISHERS % 2].address;
        fleet.subscribe_next()?;
    }
    fleet.subscribe(0)?;
    fleet.run_saturated(None, WARM_UP)?;
    let mut connection = redis.server.connect();
    let calls_before = calls(&mut connection)?;
    let processes: [&[_]; 3] = [&redis.trees, &one.trees, &other.trees];
    let measured = fleet.measure(&processes, |fleet| fleet.run_saturated(None, context.slice()))?;
    let calls = calls(&mut connection)? - calls_before;
    let connections = connection.command(&["CLIENT", "LIST"]).text().lines().count() - 1;
    let published = measured.published;
    let [redis_cpu, one_cpu, other_cpu] = [0, 1, 2].map(|at| measured.cpu[at] / published);
    fleet.finish(vec![
        measured.per_second(published),
        redis_cpu,
        1e6 / redis_cpu,
        published / calls as f64,
        one_cpu,
        other_cpu,
        connections as f64,
    ])
}

/// Scripts run by the nodes so far. A few of them do not append.
fn calls(connection: &mut RespConnection) -> BenchResult<u64> {
    let text = connection.command(&["INFO", "commandstats"]).text();
    let row = text.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let calls = row.and_then(|row| row.split(',').next()).and_then(|calls| calls.parse().ok());
    Ok(calls.ok_or("redis does not count scripts")?)
}

fn benchmark(
    context: &BenchContext,
    clients: usize,
    pipeline: usize,
    is_append: bool,
) -> BenchResult<Sample> {
    let redis = PinnedRedis::start()?;
    let mut data = Vec::new();
    let stamp = Stamp { channel: 0, producer: 0, number: 100_000, micros: 10_000_000 };
    StampCodec::new(RUN).write(stamp, EVENT_BYTES, &mut data);
    let data = String::from_utf8(data)?;
    let header = "0123456789abcdef 01234567 1700000000000 project.1000";
    let words: &[&str] = if is_append {
        &["XADD", "stream", "*", "m", header, "d", &data]
    } else {
        &["PUBLISH", "project.1000", &data]
    };
    let rate = if pipeline == 1 { SINGLE_RATE } else { PIPELINED_RATE };
    let times = (rate * context.arguments.slice).max(1.0) as u64;
    let before = cpu_time(&redis.trees)?;
    let rate = redis.benchmark(clients, pipeline, times, words)?;
    let each = micros(cpu_time(&redis.trees)? - before) / times as f64;
    let mut figures = vec![rate, each, 1e6 / each];
    figures.resize(7, f64::NAN);
    Ok(Sample { figures, ..Sample::default() })
}

/// Node at which the events are published; the subscriber is at the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PublishNode {
    Same,
    Other,
    WithoutRedis,
}

pub(super) fn latencies(context: &BenchContext) -> BenchResult<FigureTable> {
    let cases = [
        Case::new("the same node", ServerKind::Memory, PublishNode::Same),
        Case::new("the other node", ServerKind::Memory, PublishNode::Other),
        Case::new("one node by itself, without Redis", ServerKind::Memory, PublishNode::WithoutRedis),
    ];
    let rounds = Comparison::measure(context.arguments.rounds, cases, |node| {
        if *node == PublishNode::WithoutRedis {
            let server = BenchServer::start(context, ServerKind::Memory, &[])?;
            return latency(context, &server, &server);
        }
        let redis = PinnedRedis::start()?;
        let [one, other] = start_nodes(context, &redis)?;
        latency(context, &one, if *node == PublishNode::Same { &one } else { &other })
    })?;
    let mut table = FigureTable::new(
        "From publish to receipt over Redis",
        &["way", "p50, ms", "p99, ms", "faults"],
        format!(
            "{PACE} single events/s, one subscriber, nothing else on the servers' core. A node by itself has its log in memory."
        ),
    );
    rounds.fill(&mut table, 0..0);
    Ok(table)
}

fn latency(context: &BenchContext, subscribed: &BenchServer, published: &BenchServer) -> BenchResult<Sample> {
    let mut fleet = BenchFleet::new(&[published], 1, 1)?;
    fleet.address = subscribed.address;
    fleet.subscribe(1)?;
    fleet.run_paced(PACE, WARM_UP)?;
    let measured = fleet.measure(&[], |fleet| fleet.run_paced(PACE, context.slice()))?;
    fleet.finish(vec![measured.p50, measured.p99])
}
