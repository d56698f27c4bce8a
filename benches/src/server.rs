//! A server under load: its processes on the first core, with their CPU time and memory.

mod kind;
mod others;
mod process;
mod programs;
mod redis;

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tidings_load::ProcessTree;

use self::process::{free_address, spawn};
pub(crate) use self::{kind::ServerKind, programs::Programs, redis::PinnedRedis};
use crate::{requests::request, result::BenchResult};

/// Longest time to readiness.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// A running server. Dropping it kills all its processes.
pub(crate) struct BenchServer {
    /// The server, and then its backend.
    children: Vec<Child>,
    pub(crate) address: SocketAddr,
    /// Route of publishes.
    pub(crate) publishes: PublishRoute,
    /// Time from the start of the process to readiness.
    pub(crate) ready_after: Duration,
    data: PathBuf,
}

/// Form of a server's publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishRoute {
    /// A request to the channel's route.
    ByRoute,
    /// Items for Pushpin, at an address of their own.
    AsItems(SocketAddr),
}

impl BenchServer {
    /// Starts a server with the data of `name`, and waits until it is ready. `settings` are environment variables.
    pub(crate) fn start(
        programs: &Programs,
        kind: ServerKind,
        name: &str,
        settings: &[(&str, &str)],
    ) -> BenchResult<Self> {
        let address = free_address()?;
        let data = programs.directory.join(name);
        let (mut beside, mut publishes, mut needed) = (None, PublishRoute::ByRoute, vec![address]);
        if matches!(kind, ServerKind::Nchan | ServerKind::Pushpin) {
            fs::create_dir_all(&data)?;
        }
        let command = match kind {
            ServerKind::Memory | ServerKind::Before | ServerKind::Interval | ServerKind::Fsync => {
                hub(programs, kind, &data, address, settings)
            }
            ServerKind::AxumBaseline | ServerKind::EpollBaseline => {
                let is_epoll = kind == ServerKind::EpollBaseline;
                let program = if is_epoll { &programs.epoll_baseline } else { &programs.axum_baseline };
                let mut command = Command::new(program);
                command.arg(address.to_string());
                command
            }
            ServerKind::Nchan => others::nchan(&data, address)?,
            ServerKind::Pushpin => {
                let pushpin = others::pushpin(programs, &data, address)?;
                beside = Some(pushpin.origin);
                publishes = PublishRoute::AsItems(pushpin.publishes);
                needed.extend([pushpin.publishes, pushpin.behind]);
                pushpin.server
            }
        };
        let commands: Vec<Command> = [Some(command), beside].into_iter().flatten().collect();
        let is_ready = |server: &Self| match kind {
            ServerKind::Pushpin => server.listens_at(&needed) && server.answers("/api/v1/events/ready"),
            _ if kind.is_ours() => server.answers("/readyz"),
            _ => server.listens_at(&needed),
        };
        Self::start_commands(&commands, address, publishes, data, is_ready)
    }

    /// Starts a command with a free address, and waits until it listens there.
    pub(crate) fn start_command(command: impl FnOnce(SocketAddr) -> Command) -> BenchResult<Self> {
        let address = free_address()?;
        let is_ready = |server: &Self| server.listens_at(&[address]);
        let commands = [command(address)];
        Self::start_commands(&commands, address, PublishRoute::ByRoute, PathBuf::new(), is_ready)
    }

    fn start_commands(
        commands: &[Command],
        address: SocketAddr,
        publishes: PublishRoute,
        data: PathBuf,
        is_ready: impl Fn(&Self) -> bool,
    ) -> BenchResult<Self> {
        let began = Instant::now();
        let children = commands.iter().map(spawn).collect::<BenchResult<Vec<_>>>()?;
        let mut server = Self { children, address, publishes, ready_after: Duration::ZERO, data };
        while !is_ready(&server) {
            if let Some(status) = server.children[0].try_wait()? {
                return Err(format!("server ended at its start: {status}").into());
            }
            if began.elapsed() > READY_WITHIN {
                return Err(format!("server was not ready within {READY_WITHIN:?}").into());
            }
            thread::sleep(Duration::from_millis(2));
        }
        server.ready_after = began.elapsed();
        Ok(server)
    }

    fn listens_at(&self, addresses: &[SocketAddr]) -> bool {
        addresses.iter().all(|address| TcpStream::connect(address).is_ok())
    }

    /// Whether a request is answered with 200. The parts of Pushpin find each other after each of them listens.
    fn answers(&self, path: &str) -> bool {
        let read_status = || -> io::Result<[u8; 12]> {
            let mut socket = TcpStream::connect(self.address)?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            socket.write_all(&request("GET", path, "", b""))?;
            let mut status = [0; 12];
            socket.read_exact(&mut status)?;
            Ok(status)
        };
        read_status().is_ok_and(|status| status == *b"HTTP/1.1 200")
    }

    /// Kills the server and removes its data.
    pub(crate) fn discard(self) {
        let data = self.data.clone();
        drop(self);
        let _ = fs::remove_dir_all(data);
    }

    /// CPU time of all its processes so far.
    pub(crate) fn cpu(&self) -> BenchResult<Duration> {
        let each = self.leaders().map(ProcessTree::cpu);
        Ok(each.sum::<Option<Duration>>().ok_or("server has gone")?)
    }

    /// Proportional set size of all its processes, in KiB.
    pub(crate) fn pss_kib(&self) -> BenchResult<u64> {
        let each = self.leaders().map(ProcessTree::memory_kib);
        Ok(each.sum::<Option<u64>>().ok_or("server has gone")?)
    }

    fn leaders(&self) -> impl Iterator<Item = ProcessTree> {
        self.children.iter().map(|child| ProcessTree(child.id()))
    }

    /// All its processes.
    pub(crate) fn processes(&self) -> Vec<ProcessTree> {
        self.leaders().flat_map(|leader| [vec![leader], leader.children()].concat()).collect()
    }

    /// Peak resident memory since [`BenchServer::forget_peak`], in KiB.
    pub(crate) fn peak_kib(&self) -> BenchResult<u64> {
        field_kib(&self.proc("status"), "VmHWM:")
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> BenchResult<u64> {
        field_kib(&self.proc("status"), "VmRSS:")
    }

    pub(crate) fn forget_peak(&self) -> BenchResult<()> {
        Ok(fs::write(self.proc("clear_refs"), "5")?)
    }

    /// Size of all files in its data directory, in bytes.
    pub(crate) fn data_bytes(&self) -> u64 {
        directory_bytes(&self.data)
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(mut self) -> BenchResult<()> {
        let server = &mut self.children[0];
        kill_process(Pid::from_child(server), Signal::TERM)?;
        let status = server.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("server ended with {status} after SIGTERM").into())
        }
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.children[0].id()))
    }
}

impl Drop for BenchServer {
    fn drop(&mut self) {
        // Parts of a server have process groups of their own, so each process is killed by its id.
        let processes = self.processes();
        for child in &mut self.children {
            let _ = child.kill();
        }
        for process in processes {
            // The id of a process that was waited for may belong to another process.
            let is_own = self.children.iter().any(|child| child.id() == process.0);
            if let Some(id) = i32::try_from(process.0).ok().and_then(Pid::from_raw).filter(|_| !is_own) {
                let _ = kill_process(id, Signal::KILL);
            }
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

/// Command of the hub, with limits and keep-alives out of the way of the load.
fn hub(
    programs: &Programs,
    kind: ServerKind,
    data: &Path,
    address: SocketAddr,
    settings: &[(&str, &str)],
) -> Command {
    let before = programs.before.as_ref().filter(|_| kind == ServerKind::Before);
    let mut command = Command::new(before.unwrap_or(&programs.server));
    command.args(["serve", "--listen", &address.to_string()]).arg("--data-dir").arg(data);
    command.env("TIDINGS_LOG_DURABILITY", kind.durability().unwrap_or("memory"));
    command.env("TIDINGS_STREAM_KEEP_ALIVE", "1h").env("TIDINGS_SHUTDOWN_WINDOW", "1ms");
    command.env("TIDINGS_LIMITS_CONNECTIONS", "19000").env("RUST_LOG", "error");
    command.envs(settings.iter().copied());
    command
}

fn field_kib(file: &Path, field: &str) -> BenchResult<u64> {
    let text = fs::read_to_string(file)?;
    let line =
        text.lines().find_map(|line| line.strip_prefix(field)).ok_or(format!("no {field} in {file:?}"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// Size of all files; files that disappear meanwhile count as 0.
fn directory_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => directory_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
