//! Command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::server_kind::ServerKind;

/// Benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Benchmark {
    /// Deliveries to 1,000 subscribers of one channel, paced and saturated.
    Fanout,
    /// Publishes/s on 2,000 channels of one subscriber each.
    Publish,
    /// Memory per idle connection.
    Memory,
    /// Subscribers that never read beside healthy ones.
    SlowConsumers,
    /// CPU per delivery with more connections and more channels.
    Growth,
    /// System calls per delivery.
    Syscalls,
    /// Many clients that resume at once.
    Resume,
    /// Time to ready with 1,000,000 stored events.
    Restart,
    /// A hub at its retention limits beside a new one.
    Retention,
    /// Two nodes over one Redis, beside `redis-benchmark`.
    Redis,
    /// Losses of FastAPI, sse-starlette and broadcaster, beside two nodes.
    Fastapi,
}

/// Measures a hub beside axum + tokio::broadcast, Nchan, Pushpin and an epoll baseline.
#[derive(Debug, Clone, Parser)]
pub(crate) struct BenchArguments {
    /// Benchmarks to run; all by default.
    #[arg(value_enum)]
    pub(crate) benchmarks: Vec<Benchmark>,
    /// The hub's program; by default the one beside this program.
    #[arg(long)]
    pub(crate) server: Option<PathBuf>,
    /// Another build of the hub, which `fanout` measures in the same rounds.
    #[arg(long)]
    pub(crate) before: Option<PathBuf>,
    /// Directory for the servers' data; by default a temporary one.
    #[arg(long)]
    pub(crate) directory: Option<PathBuf>,
    /// Servers to measure in benchmarks that compare several; by default all that are installed.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) servers: Vec<ServerKind>,
    /// Rounds in which the servers take turns.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Seconds of one turn.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) slice: f64,
    /// Seconds of load at the retention limits.
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u64,
    /// Stored events of a full hub, a multiple of 1,000.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) events: u64,
    /// Clients that resume at once.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) clients: usize,
    /// Connections for `memory`.
    #[arg(long, default_value_t = 15_000)]
    pub(crate) connections: usize,
    /// Print Markdown, each benchmark between marks of its own.
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Draw a chart into this file, as SVG.
    #[arg(long)]
    pub(crate) chart: Option<PathBuf>,
}
