//! A server under load: its processes, pinned to the first core, and what the kernel knows of them.

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
pub(crate) use self::{
    kind::ServerKind,
    programs::Programs,
    redis::{PinnedRedis, RedisCli},
};
use crate::{
    http::{BlockingHttp, request},
    result::BenchResult,
};

/// How long a server may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// One running server. Dropping it kills it, with all that it started.
pub(crate) struct BenchServer {
    /// The server first, then what it needs beside it.
    children: Vec<Child>,
    pub(crate) address: SocketAddr,
    /// Where publishes go, in what form.
    pub(crate) publishes: PublishRoute,
    /// From the start of the process to its first 200 of `/readyz`.
    pub(crate) ready_after: Duration,
    data: PathBuf,
}

/// How a server takes publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishRoute {
    /// By the route of the channel.
    ByRoute,
    /// As items for Pushpin, at an address of their own.
    AsItems(SocketAddr),
}

impl BenchServer {
    /// Starts one on the data that `name` has, and waits until it is ready. `settings` are environment variables.
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
        let began = Instant::now();
        let mut server =
            Self { children: vec![spawn(&command)?], address, publishes, ready_after: Duration::ZERO, data };
        if let Some(command) = beside {
            server.children.push(spawn(&command)?);
        }
        while !server.is_ready(kind, &needed) {
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

    /// Starts what a command says with an address, and waits until it listens there.
    pub(crate) fn start_with(command: impl FnOnce(SocketAddr) -> Command) -> BenchResult<Self> {
        let address = free_address()?;
        let children = vec![spawn(&command(address))?];
        let began = Instant::now();
        let publishes = PublishRoute::ByRoute;
        let mut server =
            Self { children, address, publishes, ready_after: Duration::ZERO, data: PathBuf::new() };
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.children[0].try_wait()? {
                return Err(format!("server ended at its start: {status}").into());
            }
            if began.elapsed() > READY_WITHIN {
                return Err(format!("server did not listen within {READY_WITHIN:?}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        server.ready_after = began.elapsed();
        Ok(server)
    }

    fn is_ready(&self, kind: ServerKind, needed: &[SocketAddr]) -> bool {
        if kind.is_ours() {
            let mut http = BlockingHttp::connect(self.address);
            return http.as_mut().is_ok_and(|http| http.send("GET", "/readyz", "", b"").is_ok());
        }
        let is_there = needed.iter().all(|address| TcpStream::connect(address).is_ok());
        is_there && (kind != ServerKind::Pushpin || self.streams().unwrap_or(false))
    }

    /// Whether it answers a stream with one. The parts of Pushpin find each other some time after each is there.
    fn streams(&self) -> io::Result<bool> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.write_all(&request("GET", "/api/v1/events/ready", "", b""))?;
        let mut head = [0; 12];
        socket.read_exact(&mut head)?;
        Ok(head == *b"HTTP/1.1 200")
    }

    /// CPU time used by all its processes so far.
    pub(crate) fn cpu(&self) -> BenchResult<Duration> {
        let each = self.leaders().map(ProcessTree::cpu);
        Ok(each.sum::<Option<Duration>>().ok_or("server has gone")?)
    }

    /// The proportional set size of all its processes, in KiB.
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

    /// The most memory it had since [`BenchServer::forget_peak`], in KiB.
    pub(crate) fn peak_kib(&self) -> BenchResult<u64> {
        field_kib(&self.proc("status"), "VmHWM:")
    }

    /// The memory that it has now, in KiB.
    pub(crate) fn resident_kib(&self) -> BenchResult<u64> {
        field_kib(&self.proc("status"), "VmRSS:")
    }

    pub(crate) fn forget_peak(&self) -> BenchResult<()> {
        Ok(fs::write(self.proc("clear_refs"), "5")?)
    }

    /// Bytes of all files in its data directory.
    pub(crate) fn data_bytes(&self) -> u64 {
        directory_bytes(&self.data)
    }

    /// Ends it by SIGTERM and waits until it has gone.
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
        // Parts of a server make process groups of their own, so each is killed by its id.
        let processes = self.processes();
        for child in &mut self.children {
            let _ = child.kill();
        }
        for process in processes {
            // One that was waited for has given its id away.
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

/// The hub's command. Nothing but the load at hand is to be measured, and no limit of its own in the way.
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

/// Files that go while they are counted count nothing.
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
