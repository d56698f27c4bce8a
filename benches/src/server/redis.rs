//! A Redis of a measurement's own, what it is asked, and the benchmark that it brings.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tidings_load::ProcessTree;

use super::process::{free_address, spawn};
use crate::result::BenchResult;

/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// One that runs on the first core and keeps nothing on disk. Dropping it kills it.
pub(crate) struct PinnedRedis {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl PinnedRedis {
    pub(crate) fn start() -> BenchResult<Self> {
        let address = free_address()?;
        let mut command = tidings_testkit::redis::server();
        command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no"]);
        let redis = Self { child: spawn(&command)?, address };
        let began = Instant::now();
        while redis.connect().is_err() {
            if began.elapsed() > ANSWER_WITHIN {
                return Err("redis-server did not answer".into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(redis)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn connect(&self) -> BenchResult<RedisCli> {
        let mut wire = RedisCli::connect(self.address)?;
        wire.ask(&["PING"])?;
        Ok(wire)
    }

    /// CPU time used so far.
    pub(crate) fn cpu(&self) -> BenchResult<Duration> {
        Ok(ProcessTree(self.child.id()).cpu().ok_or("redis has gone")?)
    }

    /// Runs `redis-benchmark` on the load's core, and answers how often it did it each second. It ends by emptying the Redis.
    pub(crate) fn benchmark(
        &self,
        clients: usize,
        pipeline: usize,
        times: u64,
        words: &[&str],
    ) -> BenchResult<f64> {
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string(), "-q"]);
        command.args(["-c", &clients.to_string(), "-P", &pipeline.to_string(), "-n", &times.to_string()]);
        let output = command.args(words).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        // Before the result it shows how it comes along, in the same line.
        let rate = text.split(" requests per second").next().and_then(|text| text.split_whitespace().last());
        let rate = rate.and_then(|rate| rate.parse().ok());
        self.connect()?.ask(&["FLUSHALL"])?;
        Ok(rate.ok_or_else(|| format!("redis-benchmark: {text}"))?)
    }
}

impl Drop for PinnedRedis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that waits for each answer.
pub(crate) struct RedisCli {
    reader: BufReader<TcpStream>,
}

impl RedisCli {
    pub(crate) fn connect(address: SocketAddr) -> BenchResult<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self { reader: BufReader::new(socket) })
    }

    /// Sends a command, and answers the line or the text that comes back.
    ///
    /// # Errors
    /// What happened to the connection, or that Redis refused.
    pub(crate) fn ask(&mut self, words: &[&str]) -> BenchResult<String> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.reader.get_mut().write_all(command.as_bytes())?;
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err("redis closed the connection".into());
        }
        let line = line.trim_end();
        match line.strip_prefix('$').and_then(|bytes| bytes.parse::<usize>().ok()) {
            Some(bytes) => {
                let mut text = vec![0; bytes + 2];
                self.reader.read_exact(&mut text)?;
                Ok(String::from_utf8_lossy(&text[..bytes]).into_owned())
            }
            None if line.starts_with('-') => Err(line.to_owned().into()),
            None => Ok(line.get(1..).unwrap_or_default().to_owned()),
        }
    }
}
