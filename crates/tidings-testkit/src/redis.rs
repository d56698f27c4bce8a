//! A redis-server of a test's own.

mod connection;
mod version;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use rustix::process::Signal;

pub use self::connection::{RespConnection, RespReply};
pub use self::version::{PROGRAM_VARIABLE, RedisVersion, sentinel, server, version};
use crate::process::{read_lines, read_through};
use crate::{ChildProcess, TempDirectory, eventually, free_port};

/// How often another free port is tried, if another program has taken the first.
const PORTS_TRIED_MAX: usize = 20;

/// A Redis on loopback that is killed when it is dropped. Its methods may be called from several threads.
#[derive(Debug)]
pub struct RedisServer {
    directory: TempDirectory,
    port: u16,
    options: RedisServerOptions,
    /// `None` while the server is down.
    process: Mutex<Option<ChildProcess>>,
}

/// Options of a [`RedisServer`].
#[derive(Debug, Clone, Default)]
pub struct RedisServerOptions {
    is_durable: bool,
    arguments: Vec<String>,
    password: Option<String>,
}

impl RedisServerOptions {
    /// Writes each command to disk before it is answered; a restart finds them. Default: a restart finds nothing.
    pub fn durable(mut self) -> Self {
        self.is_durable = true;
        self
    }

    /// Adds arguments of the command line. `{port}` in them becomes the server's port.
    pub fn arguments<A: ToString>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.to_string()));
        self
    }

    /// Requires this password. The methods of the server, and its URL, use it.
    pub fn password(self, password: &str) -> Self {
        let mut options = self.arguments(["--requirepass", password]);
        options.password = Some(password.to_owned());
        options
    }

    /// Starts the server on a free port, and waits until it accepts connections.
    #[track_caller]
    pub fn start(self) -> RedisServer {
        for _ in 0..PORTS_TRIED_MAX {
            let server = RedisServer {
                directory: TempDirectory::create(),
                port: free_port(),
                options: self.clone(),
                process: Mutex::new(None),
            };
            if server.spawn() {
                return server;
            }
        }
        panic!(
            "redis-server did not start on {PORTS_TRIED_MAX} ports; its arguments are {:?}",
            self.arguments
        )
    }
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    #[track_caller]
    pub fn start() -> Self {
        RedisServerOptions::default().start()
    }

    /// Starts a server that finds its data after a restart.
    #[track_caller]
    pub fn start_durable() -> Self {
        RedisServerOptions::default().durable().start()
    }

    /// Starts a replica, and waits until it has the data of its primary.
    #[track_caller]
    pub fn start_replica_of(primary: &Self) -> Self {
        let port = primary.port.to_string();
        let replica = RedisServerOptions::default().arguments(["--replicaof", "127.0.0.1", &port]).start();
        replica.wait_for_primary();
        replica
    }
    pub fn options() -> RedisServerOptions {
        RedisServerOptions::default()
    }
    pub fn port(&self) -> u16 {
        self.port
    }
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// URL with the password.
    pub fn url(&self) -> String {
        let credentials = self.options.password.as_ref().map(|password| format!(":{password}@"));
        format!("redis://{}{}/", credentials.unwrap_or_default(), self.address())
    }
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
    #[track_caller]
    pub fn connect(&self) -> RespConnection {
        self.try_connect()
            .unwrap_or_else(|error| panic!("no connection to Redis at {}: {error}", self.address()))
    }

    fn try_connect(&self) -> std::io::Result<RespConnection> {
        let mut connection = RespConnection::open(self.address())?;
        if let Some(password) = &self.options.password {
            connection.try_command(&["AUTH", password])?;
        }
        Ok(connection)
    }

    /// Sends a command over a connection of its own, and returns the reply, which may be an error reply.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> RespReply {
        self.connect().command(words)
    }

    /// Sends a command whose words stand between spaces, over a connection of its own. Panics on an error reply.
    #[track_caller]
    pub fn execute(&self, command: &str) -> RespReply {
        let reply = self.command(&command.split(' ').collect::<Vec<_>>());
        assert!(!matches!(reply, RespReply::Error(_)), "{command}: {reply:?}");
        reply
    }

    /// Returns a field of `INFO`, such as `master_replid`.
    #[track_caller]
    pub fn info(&self, field: &str) -> String {
        let mut info = String::new();
        eventually("Redis answers INFO", || {
            // Sentinel closes the connections of a server whose role changes, also in the middle of a reply.
            let reply =
                self.try_connect().and_then(|mut connection| connection.try_command(&["INFO", "everything"]));
            info = reply.map(|reply| reply.text()).unwrap_or_default();
            !info.is_empty()
        });
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("INFO has no field {field}")).to_owned()
    }

    /// Stops the process in whatever it does: it answers no client, and closes no connection.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }
    pub fn kill(&self) {
        if let Some(mut process) = self.process().take() {
            process.kill();
        }
    }

    /// Whether the process was started and not killed by [`RedisServer::kill`].
    pub fn is_running(&self) -> bool {
        self.process().is_some()
    }

    /// Kills the process if it runs, and starts it again on the same port. It finds its data if it is durable.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        assert!(self.spawn(), "redis-server did not start again on port {}", self.port);
    }

    /// Kills the process if it runs, and starts it again on the same port without any data.
    #[track_caller]
    pub fn restart_empty(&self) {
        self.kill();
        self.directory.clear();
        self.restart();
    }

    /// Closes the connections of a type: `normal`, `pubsub` or `replica`. Returns their number.
    pub fn client_kill(&self, kind: &str) -> i64 {
        self.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).integer()
    }
    #[track_caller]
    pub fn promote(&self) {
        assert_eq!(self.command(&["REPLICAOF", "NO", "ONE"]).text(), "OK");
    }

    /// Makes the server a replica, and waits until it has the data of its primary.
    #[track_caller]
    pub fn replicate(&self, primary: &Self) {
        assert_eq!(self.command(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]).text(), "OK");
        self.wait_for_primary();
    }

    /// Waits until a replica is connected to its primary, and has read the data that the primary had then.
    #[track_caller]
    pub fn wait_for_primary(&self) {
        eventually("the replica is in sync with its primary", || {
            self.info("master_link_status") == "up" && self.info("master_sync_in_progress") == "0"
        });
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<ChildProcess>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: Signal) {
        self.process().as_ref().expect("Redis runs").signal(signal);
    }

    /// Starts the process, and waits until it has read its data and accepts connections; false if it exits instead.
    fn spawn(&self) -> bool {
        let port = self.port.to_string();
        let append_only = if self.options.is_durable { "yes" } else { "no" };
        let mut command = server();
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", append_only, "--appendfsync", "always"]);
        command.args(["--repl-diskless-sync-delay", "0", "--dir"]).arg(self.directory.path());
        command.args(self.options.arguments.iter().map(|argument| argument.replace("{port}", &port)));
        let mut process = ChildProcess::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()));
        let log = read_lines(process.take_stdout());
        let is_ready = read_through(&log, "Ready to accept connections").is_ok();
        assert!(is_ready || !process.is_running(), "redis-server at {} is not ready", self.address());
        if is_ready {
            *self.process() = Some(process);
        }
        is_ready
    }
}

#[cfg(test)]
mod tests;
