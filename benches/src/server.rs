//! A server under load: its processes, pinned to the first core, and what the kernel knows of them.

mod kind;
mod others;
mod redis;

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tidings_load::Process;

pub(crate) use self::{
    kind::Kind,
    redis::{Redis, Wire},
};
use crate::{
    Outcome,
    http::{Http, request},
};

/// How long a server may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Where the programs are, and where servers keep their data.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) server: PathBuf,
    /// Another build of the hub, to compare with.
    pub(crate) before: Option<PathBuf>,
    pub(crate) baseline: PathBuf,
    pub(crate) floor: PathBuf,
    /// What stands behind Pushpin.
    pub(crate) origin: PathBuf,
    pub(crate) directory: PathBuf,
}

/// One running server. Dropping it kills it, with all that it started.
pub(crate) struct Server {
    /// The server first, then what it needs beside it.
    children: Vec<Child>,
    pub(crate) address: SocketAddr,
    /// Where publishes go, in what form.
    pub(crate) publishes: Publishes,
    /// From the start of the process to its first 200 of `/readyz`.
    pub(crate) ready_after: Duration,
    data: PathBuf,
}

/// How a server takes publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publishes {
    /// By the route of the channel.
    ByRoute,
    /// As items for Pushpin, at an address of their own.
    AsItems(SocketAddr),
}

impl Server {
    /// Starts one on the data that `name` has, and waits until it is ready. `settings` are environment variables.
    pub(crate) fn start(
        programs: &Programs,
        kind: Kind,
        name: &str,
        settings: &[(&str, &str)],
    ) -> Outcome<Self> {
        let address = others::free_address()?;
        let data = programs.directory.join(name);
        let (mut beside, mut publishes, mut needed) = (None, Publishes::ByRoute, vec![address]);
        if matches!(kind, Kind::Nchan | Kind::Pushpin) {
            fs::create_dir_all(&data)?;
        }
        let command = match kind {
            Kind::Memory | Kind::Before | Kind::Interval | Kind::Fsync => {
                hub(programs, kind, &data, address, settings)
            }
            Kind::Baseline | Kind::Floor => {
                let is_floor = kind == Kind::Floor;
                let mut command = Command::new(if is_floor { &programs.floor } else { &programs.baseline });
                command.arg(address.to_string());
                command
            }
            Kind::Nchan => others::nchan(&data, address)?,
            Kind::Pushpin => {
                let pushpin = others::pushpin(programs, &data, address)?;
                beside = Some(pushpin.origin);
                publishes = Publishes::AsItems(pushpin.publishes);
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
    pub(crate) fn start_with(command: impl FnOnce(SocketAddr) -> Command) -> Outcome<Self> {
        let address = others::free_address()?;
        let children = vec![spawn(&command(address))?];
        let began = Instant::now();
        let publishes = Publishes::ByRoute;
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

    fn is_ready(&self, kind: Kind, needed: &[SocketAddr]) -> bool {
        if kind.is_ours() {
            let mut http = Http::connect(self.address);
            return http.as_mut().is_ok_and(|http| http.send("GET", "/readyz", "", b"").is_ok());
        }
        let is_there = needed.iter().all(|address| TcpStream::connect(address).is_ok());
        is_there && (kind != Kind::Pushpin || self.streams().unwrap_or(false))
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
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let each = self.leaders().map(Process::cpu);
        Ok(each.sum::<Option<Duration>>().ok_or("server has gone")?)
    }

    /// The proportional set size of all its processes, in KiB.
    pub(crate) fn pss_kib(&self) -> Outcome<u64> {
        let each = self.leaders().map(Process::memory_kib);
        Ok(each.sum::<Option<u64>>().ok_or("server has gone")?)
    }

    fn leaders(&self) -> impl Iterator<Item = Process> {
        self.children.iter().map(|child| Process(child.id()))
    }

    /// All its processes.
    pub(crate) fn processes(&self) -> Vec<Process> {
        self.leaders().flat_map(|leader| [vec![leader], leader.children()].concat()).collect()
    }

    /// The most memory it had since [`Server::forget_peak`], in KiB.
    pub(crate) fn peak_kib(&self) -> Outcome<u64> {
        field_kib(&self.proc("status"), "VmHWM:")
    }

    /// The memory that it has now, in KiB.
    pub(crate) fn resident_kib(&self) -> Outcome<u64> {
        field_kib(&self.proc("status"), "VmRSS:")
    }

    pub(crate) fn forget_peak(&self) -> Outcome<()> {
        Ok(fs::write(self.proc("clear_refs"), "5")?)
    }

    /// Bytes of all files in its data directory.
    pub(crate) fn data_bytes(&self) -> u64 {
        directory_bytes(&self.data)
    }

    /// Ends it by SIGTERM and waits until it has gone.
    pub(crate) fn terminate(mut self) -> Outcome<()> {
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

impl Drop for Server {
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
    kind: Kind,
    data: &Path,
    address: SocketAddr,
    settings: &[(&str, &str)],
) -> Command {
    let before = programs.before.as_ref().filter(|_| kind == Kind::Before);
    let mut command = Command::new(before.unwrap_or(&programs.server));
    command.args(["serve", "--listen", &address.to_string()]).arg("--data-dir").arg(data);
    command.env("TIDINGS_LOG_DURABILITY", kind.durability().unwrap_or("memory"));
    command.env("TIDINGS_STREAM_KEEP_ALIVE", "1h").env("TIDINGS_SHUTDOWN_WINDOW", "1ms");
    command.env("TIDINGS_LIMITS_CONNECTIONS", "19000").env("RUST_LOG", "error");
    command.envs(settings.iter().copied());
    command
}

/// Starts a command on the first core.
fn spawn(command: &Command) -> Outcome<Child> {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "0"]).arg(command.get_program()).args(command.get_args());
    pinned.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ok(pinned.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?)
}

fn field_kib(file: &Path, field: &str) -> Outcome<u64> {
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
