//! Two nodes over one Redis: appends and their cost, beside `redis-benchmark` on the same Redis.

use std::time::{Duration, Instant};

use tidings_load::StampCodec;
use tidings_testkit::RespConnection;

use super::{
    fanout,
    publish::{BATCH, BATCH_PUBLISHERS, CHANNELS, ManyChannelLoad, PUBLISHERS, WARM_UP, channel_name},
};
use crate::{
    arguments::BenchArguments,
    client_fleet::{BenchFleet, DeliveryFaults},
    event::{EVENT_BYTES, RUN, data, stamp},
    numbers::{figure_text, median, micros},
    report::FigureTable,
    result::BenchResult,
    server::{BenchServer, PinnedRedis, Programs, ServerKind},
};

/// Events a second for latency.
const PACE: u32 = 200;
/// Assumed rates of `redis-benchmark`: they make its runs about one turn long.
const SINGLE_RATE: f64 = 40_000.0;
const PIPELINED_RATE: f64 = 200_000.0;

/// A workload of one turn.
#[derive(Debug, Clone, Copy)]
enum RedisWorkload {
    /// Publishers at both nodes, and events of each request.
    Nodes { publishers: usize, batch: usize },
    /// `redis-benchmark` with this many clients, each with `pipeline` commands in flight.
    Benchmark { clients: usize, pipeline: usize, is_append: bool },
}

/// Index of the reference: it appends as many entries at once.
const REFERENCE: usize = 4;
const TURNS: [(&str, RedisWorkload); 6] = [
    ("two nodes, single events, 32 connections", RedisWorkload::Nodes { publishers: PUBLISHERS, batch: 1 }),
    ("two nodes, single events, 200 connections", RedisWorkload::Nodes { publishers: 200, batch: 1 }),
    (
        "two nodes, batches of 100, 4 connections",
        RedisWorkload::Nodes { publishers: BATCH_PUBLISHERS, batch: BATCH },
    ),
    (
        "`XADD`, 32 connections",
        RedisWorkload::Benchmark { clients: PUBLISHERS, pipeline: 1, is_append: true },
    ),
    (
        "`XADD -P 100`, 4 connections",
        RedisWorkload::Benchmark { clients: 4, pipeline: BATCH, is_append: true },
    ),
    (
        "`PUBLISH -P 100`, 4 connections",
        RedisWorkload::Benchmark { clients: 4, pipeline: BATCH, is_append: false },
    ),
];

/// Events/s; CPU of Redis per event; events per CPU second of Redis; and of nodes: events per call, CPU of each node
/// per event, and connections to Redis.
type RedisFigures = [f64; 7];

pub(crate) fn measure(arguments: &BenchArguments, programs: &Programs) -> BenchResult<Vec<FigureTable>> {
    Ok(vec![rates(arguments, programs)?, latencies(arguments, programs)?])
}

fn rates(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let mut table = FigureTable::new(
        "Publishes over Redis: two nodes beside `redis-benchmark`",
        &[
            "workload",
            "events/s",
            "Redis CPU per event, µs",
            "events per CPU second of Redis",
            "events per call",
            "CPU of each node per event, µs",
            "connections to Redis",
            "faults",
        ],
        "One Redis and two nodes on the first core, the load on the second. 2,000 channels of one subscriber, half of them \
         at the node that is not published at; single events, or NDJSON bodies of 100. CPU of Redis includes the reads of the nodes. \
         `redis-benchmark` writes entries of the same two fields with the same bytes into a stream, or publishes the \
         same data without subscribers. In parentheses: the median of the ratios to `XADD -P 100`, round by round.",
    );
    let mut samples: Vec<Vec<RedisFigures>> = vec![Vec::new(); TURNS.len()];
    let mut faults = [DeliveryFaults::default(); TURNS.len()];
    for _ in 0..arguments.rounds {
        for (at, (name, turn)) in TURNS.into_iter().enumerate() {
            let figures = match turn {
                RedisWorkload::Nodes { publishers, batch } => {
                    let (figures, seen) = publish(arguments, programs, publishers, batch)?;
                    faults[at] = faults[at] + seen;
                    figures
                }
                RedisWorkload::Benchmark { clients, pipeline, is_append } => {
                    benchmark(arguments, clients, pipeline, is_append)?
                }
            };
            eprintln!("  {name}: {figures:.1?}");
            samples[at].push(figures);
        }
    }
    for (at, (name, turn)) in TURNS.into_iter().enumerate() {
        let is_nodes = matches!(turn, RedisWorkload::Nodes { .. });
        let value = |figure: usize| median(samples[at].iter().map(|sample| sample[figure]));
        let cell = |figure: usize| {
            let rounds = samples[at].iter().zip(&samples[REFERENCE]);
            let ratio = median(rounds.map(|(one, other)| one[figure] / other[figure]));
            format!("{} ({ratio:.2})", figure_text(value(figure)))
        };
        let mut row = vec![name.to_owned(), cell(0), cell(1), cell(2)];
        if is_nodes {
            let seen = faults[at].to_string();
            if !faults[at].is_none() {
                table.errors.push(format!("{name}: {seen}"));
            }
            let nodes = format!("{:.1}, {:.1}", value(4), value(5));
            row.extend([figure_text(value(3)), nodes, format!("{:.0}", value(6)), seen]);
        }
        row.resize(table.columns.len(), "–".to_owned());
        table.row(row);
    }
    Ok(table)
}

/// Starts two nodes over a Redis.
fn nodes(programs: &Programs, redis: &PinnedRedis, name: &str) -> BenchResult<[BenchServer; 2]> {
    let url = redis.server.url();
    let start = |at: usize| {
        let settings = [("TIDINGS_REDIS_URL", url.as_str())];
        BenchServer::start(programs, ServerKind::Memory, &format!("{name}-{at}"), &settings)
    };
    Ok([start(0)?, start(1)?])
}

fn publish(
    arguments: &BenchArguments,
    programs: &Programs,
    publishers: usize,
    batch: usize,
) -> BenchResult<(RedisFigures, DeliveryFaults)> {
    let name = "redis-publish";
    let redis = PinnedRedis::start()?;
    let nodes = nodes(programs, &redis, name)?;
    let mut fleet = BenchFleet::new(nodes[0].address)?;
    for channel in 0..CHANNELS {
        // Publishers use both nodes in turn: half of the channels are subscribed at the publisher's node.
        fleet.redirect_to(nodes[channel / PUBLISHERS % 2].address);
        fleet.subscribe(&channel_name(channel), None)?;
    }
    fleet.open_all()?;
    for publisher in 0..publishers {
        fleet.redirect_to(nodes[publisher % 2].address);
        fleet.add_publisher();
    }
    let mut load = ManyChannelLoad::new(batch);
    load.run(&mut fleet, WARM_UP)?;
    let cpu = || -> BenchResult<[Duration; 3]> { Ok([redis.cpu()?, nodes[0].cpu()?, nodes[1].cpu()?]) };
    let mut connection = redis.server.connect();
    let (before, calls_before, cpu_before, began) =
        (load.published, calls(&mut connection)?, cpu()?, Instant::now());
    load.run(&mut fleet, Duration::from_secs_f64(arguments.slice))?;
    let (seconds, cpu_after) = (began.elapsed().as_secs_f64(), cpu()?);
    let calls = (calls(&mut connection)? - calls_before) as f64;
    let connections = connection.command(&["CLIENT", "LIST"]).text().lines().count() - 1;
    let published = (load.published - before) as f64;
    let each = |at: usize| micros(cpu_after[at].saturating_sub(cpu_before[at])) / published;
    fleet.drain(load.published)?;
    nodes.into_iter().for_each(BenchServer::discard);
    let figures = [
        published / seconds,
        each(0),
        1e6 / each(0),
        published / calls,
        each(1),
        each(2),
        connections as f64,
    ];
    Ok((figures, fleet.faults))
}

/// Scripts run by the nodes so far. A few of them do not append.
fn calls(connection: &mut RespConnection) -> BenchResult<u64> {
    let text = connection.command(&["INFO", "commandstats"]).text();
    let row = text.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let calls = row.and_then(|row| row.split(',').next()).and_then(|calls| calls.parse().ok());
    Ok(calls.ok_or("redis does not count scripts")?)
}

fn benchmark(
    arguments: &BenchArguments,
    clients: usize,
    pipeline: usize,
    is_append: bool,
) -> BenchResult<RedisFigures> {
    let redis = PinnedRedis::start()?;
    let data = data(&StampCodec::new(RUN), stamp(0, 100_000, 10_000_000), EVENT_BYTES);
    let header = "0123456789abcdef 01234567 1700000000000 project.1000";
    let words = if is_append {
        vec!["XADD", "stream", "*", "m", header, "d", data.as_str()]
    } else {
        vec!["PUBLISH", "project.1000", data.as_str()]
    };
    let rate = if pipeline == 1 { SINGLE_RATE } else { PIPELINED_RATE };
    let times = (rate * arguments.slice).max(1.0) as u64;
    let before = redis.cpu()?;
    let rate = redis.benchmark(clients, pipeline, times, &words)?;
    let each = micros(redis.cpu()? - before) / times as f64;
    Ok([rate, each, 1e6 / each, 0.0, 0.0, 0.0, 0.0])
}

fn latencies(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let mut table = FigureTable::new(
        "From publish to receipt over Redis",
        &["way", "p50, ms", "p99, ms", "faults"],
        &format!(
            "{PACE} single events/s, one subscriber, nothing else on the servers' core. A node by itself has its log in memory."
        ),
    );
    let ways = ["the same node", "the other node", "one node by itself, without Redis"];
    let mut samples = vec![Vec::new(); ways.len()];
    let mut faults = [DeliveryFaults::default(); 3];
    for round in 0..arguments.rounds {
        for way in 0..ways.len() {
            let (figures, seen) = latency(arguments, programs, round, way)?;
            eprintln!("  {}: {figures:.2?}", ways[way]);
            faults[way] = faults[way] + seen;
            samples[way].push(figures);
        }
    }
    for (at, way) in ways.into_iter().enumerate() {
        let cell =
            |figure: usize| format!("{:.2}", median(samples[at].iter().map(|it: &[f64; 2]| it[figure])));
        if !faults[at].is_none() {
            table.errors.push(format!("{way}: {}", faults[at]));
        }
        table.row([way.to_owned(), cell(0), cell(1), faults[at].to_string()]);
    }
    Ok(table)
}

fn latency(
    arguments: &BenchArguments,
    programs: &Programs,
    round: usize,
    way: usize,
) -> BenchResult<([f64; 2], DeliveryFaults)> {
    let name = format!("redis-latency-{round}-{way}");
    let redis = if way < 2 { Some(PinnedRedis::start()?) } else { None };
    let servers: Vec<BenchServer> = match &redis {
        Some(redis) => nodes(programs, redis, &name)?.into(),
        None => vec![BenchServer::start(programs, ServerKind::Memory, &format!("{name}-0"), &[])?],
    };
    let mut fleet = BenchFleet::new(servers[0].address)?;
    fleet.subscribe("project.1", None)?;
    fleet.open_all()?;
    fleet.redirect_to(servers[if way == 1 { 1 } else { 0 }].address);
    fleet.add_publisher();
    let mut load = fanout::OneChannelLoad::new("project.1");
    load.paced(&mut fleet, PACE, WARM_UP)?;
    fleet.forget_latencies();
    load.paced(&mut fleet, PACE, Duration::from_secs_f64(arguments.slice))?;
    fleet.drain(load.published())?;
    let quantile = |at| fleet.latency().value_at_quantile(at) as f64 / 1e3;
    let figures = [quantile(0.5), quantile(0.99)];
    servers.into_iter().for_each(BenchServer::discard);
    Ok((figures, fleet.faults))
}
