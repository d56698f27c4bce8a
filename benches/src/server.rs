//! A server under load: its processes on the first core, with their CPU time and memory.

mod commands;
mod redis;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};
use tidings_load::ProcessTree;
use tidings_testkit::ChildProcess;

use self::commands::{ServerCommands, free_address};
pub(crate) use self::redis::PinnedRedis;
use crate::{context::BenchContext, requests::request, result::BenchResult, server_kind::ServerKind};

/// Longest time to readiness.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// A running server. Dropping it kills all its processes.
#[derive(Debug)]
pub(crate) struct BenchServer {
    /// The server, and then its backend.
    children: Vec<ChildProcess>,
    /// The same processes, each with its descendants.
    pub(crate) trees: Vec<ProcessTree>,
    pub(crate) address: SocketAddr,
    /// Address of Pushpin's route for publishes. Other servers have a route of each channel for them.
    pub(crate) pushpin: Option<SocketAddr>,
    /// Time from the start of the process to readiness.
    pub(crate) ready_after: Duration,
    data: PathBuf,
    /// Whether the data is removed with the server.
    is_temporary: bool,
}

impl BenchServer {
    /// Starts a server whose data is removed with it. `settings` are environment variables.
    pub(crate) fn start(
        context: &BenchContext,
        kind: ServerKind,
        settings: &[(&str, &str)],
    ) -> BenchResult<Self> {
        Self::start_at(context, kind, context.next_directory(), true, settings)
    }

    /// Starts a hub on disk with the data of `name`, which stays.
    pub(crate) fn start_with_data(context: &BenchContext, name: &str) -> BenchResult<Self> {
        Self::start_at(context, ServerKind::Interval, context.directory.join(name), false, &[])
    }

    /// Starts a server, and waits until it is ready.
    fn start_at(
        context: &BenchContext,
        kind: ServerKind,
        data: PathBuf,
        is_temporary: bool,
        settings: &[(&str, &str)],
    ) -> BenchResult<Self> {
        let address = free_address();
        let commands = ServerCommands::of(context, kind, &data, address, settings)?;
        Self::start_commands(&commands, address, data, is_temporary)
    }

    /// Starts a command with a free address, and waits until it listens there.
    pub(crate) fn start_command(command: impl FnOnce(SocketAddr) -> Command) -> BenchResult<Self> {
        let address = free_address();
        let commands = ServerCommands::of_one(command(address), address);
        Self::start_commands(&commands, address, PathBuf::new(), false)
    }

    fn start_commands(
        server: &ServerCommands,
        address: SocketAddr,
        data: PathBuf,
        is_temporary: bool,
    ) -> BenchResult<Self> {
        let ServerCommands { commands, pushpin, listens_at, ready_path } = server;
        let (began, pushpin, ready_after) = (Instant::now(), *pushpin, Duration::ZERO);
        let children: Vec<ChildProcess> = commands.iter().map(spawn_pinned).collect();
        let trees = children.iter().map(|child| ProcessTree(child.id())).collect();
        let mut server = Self { children, trees, address, pushpin, ready_after, data, is_temporary };
        let is_ready = || {
            // The parts of Pushpin find each other after each of them listens.
            listens_at.iter().all(|address| TcpStream::connect(address).is_ok())
                && ready_path.is_none_or(|path| answers(address, path))
        };
        while !is_ready() {
            if !server.children[0].is_running() {
                return Err(format!("server ended at its start: {}", server.children[0].wait()).into());
            }
            if began.elapsed() > READY_WITHIN {
                return Err(format!("server was not ready within {READY_WITHIN:?}").into());
            }
            thread::sleep(Duration::from_millis(2));
        }
        server.ready_after = began.elapsed();
        Ok(server)
    }

    pub(crate) fn cpu(&self) -> BenchResult<Duration> {
        cpu_time(&self.trees)
    }

    /// Proportional set size of all its processes, in KiB.
    pub(crate) fn pss_kib(&self) -> BenchResult<u64> {
        let each = self.trees.iter().map(|tree| tree.memory_kib());
        Ok(each.sum::<Option<u64>>().ok_or("server has gone")?)
    }

    /// A field of the server's status, in KiB: `VmRSS:`, or `VmHWM:` for the peak since [`BenchServer::forget_peak`].
    pub(crate) fn status_kib(&self, field: &str) -> BenchResult<u64> {
        Ok(self.trees[0].field_kib("status", field).ok_or("server has gone")?)
    }

    pub(crate) fn forget_peak(&self) -> BenchResult<()> {
        Ok(fs::write(self.trees[0].file("clear_refs"), "5")?)
    }

    /// All its processes.
    pub(crate) fn processes(&self) -> Vec<ProcessTree> {
        self.trees.iter().flat_map(|tree| [vec![*tree], tree.children()].concat()).collect()
    }

    /// Size of all files in its data directory, in bytes.
    pub(crate) fn data_bytes(&self) -> u64 {
        directory_bytes(&self.data)
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(mut self) -> BenchResult<()> {
        self.children[0].signal(Signal::TERM);
        let status = self.children[0].wait();
        if status.success() {
            Ok(())
        } else {
            Err(format!("server ended with {status} after SIGTERM").into())
        }
    }
}

impl Drop for BenchServer {
    fn drop(&mut self) {
        // Parts of a server have process groups of their own, so each process is killed by its id.
        let parts: Vec<ProcessTree> = self.trees.iter().flat_map(|tree| tree.children()).collect();
        self.children.clear();
        for part in parts {
            if let Some(id) = i32::try_from(part.0).ok().and_then(Pid::from_raw) {
                let _ = kill_process(id, Signal::KILL);
            }
        }
        if self.is_temporary {
            let _ = fs::remove_dir_all(&self.data);
        }
    }
}

/// CPU time of all these processes so far.
pub(crate) fn cpu_time(trees: &[ProcessTree]) -> BenchResult<Duration> {
    let each = trees.iter().map(|tree| tree.cpu());
    Ok(each.sum::<Option<Duration>>().ok_or("server has gone")?)
}

/// Starts a command on the first core.
fn spawn_pinned(command: &Command) -> ChildProcess {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "0"]).arg(command.get_program()).args(command.get_args());
    pinned.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    ChildProcess::spawn(pinned.stdout(Stdio::null()))
}

/// Whether a request is answered with 200.
fn answers(address: SocketAddr, path: &str) -> bool {
    let read_status = || -> io::Result<[u8; 12]> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.write_all(&request("GET", path, "", b""))?;
        let mut status = [0; 12];
        socket.read_exact(&mut status)?;
        Ok(status)
    };
    read_status().is_ok_and(|status| status == *b"HTTP/1.1 200")
}

/// Size of all files; files that disappear meanwhile count as 0.
fn directory_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => directory_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
