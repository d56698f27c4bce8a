//! A Redis on the first core, and the benchmark that comes with Redis.

use std::process::{Command, Stdio};

use tidings_load::ProcessTree;
use tidings_testkit::RedisServer;

use crate::result::BenchResult;

/// A redis-server that keeps no file, on the first core.
pub(crate) struct PinnedRedis {
    pub(crate) server: RedisServer,
    pub(crate) trees: [ProcessTree; 1],
}

impl PinnedRedis {
    pub(crate) fn start() -> BenchResult<Self> {
        let server = RedisServer::start();
        let id = server.info("process_id");
        // `-a`: all threads that the server has started so far; later ones inherit their affinity.
        let pinned = Command::new("taskset").args(["-a", "-p", "-c", "0", id.trim()]).output()?;
        if !pinned.status.success() {
            return Err(format!("taskset: {}", String::from_utf8_lossy(&pinned.stderr)).into());
        }
        Ok(Self { server, trees: [ProcessTree(id.trim().parse()?)] })
    }

    /// Runs `redis-benchmark` on the load's core and returns its commands a second. Then empties the Redis.
    pub(crate) fn benchmark(
        &self,
        clients: usize,
        pipeline: usize,
        times: u64,
        words: &[&str],
    ) -> BenchResult<f64> {
        let (host, port) = ("127.0.0.1", self.server.port().to_string());
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", host, "-p", &port, "-q", "-n", &times.to_string()]);
        command.args(["-c", &clients.to_string(), "-P", &pipeline.to_string()]);
        let output = command.args(words).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        // Progress precedes the result in the same line.
        let rate = text.split(" requests per second").next().and_then(|text| text.split_whitespace().last());
        let rate = rate.and_then(|rate| rate.parse().ok());
        self.server.command(&["FLUSHALL"]);
        Ok(rate.ok_or_else(|| format!("redis-benchmark printed {text:?}"))?)
    }
}
