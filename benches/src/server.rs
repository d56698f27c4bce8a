//! A server under load: its process, pinned to the first core, and what the kernel knows of it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Outcome, http::Http};

/// How long a server may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Interval,
    Fsync,
    Baseline,
    Floor,
}

impl Kind {
    /// With what the kernel charges, last: where every event is one write for each subscriber.
    pub(crate) const WITH_FLOOR: [Self; 5] =
        [Self::Memory, Self::Interval, Self::Fsync, Self::Baseline, Self::Floor];
    pub(crate) const ALL: [Self; 4] = [Self::Memory, Self::Interval, Self::Fsync, Self::Baseline];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "tidings, `memory`",
            Self::Interval => "tidings, `interval`",
            Self::Fsync => "tidings, `fsync`",
            Self::Baseline => "`axum` + broadcast",
            Self::Floor => "the floor",
        }
    }

    fn durability(self) -> Option<&'static str> {
        match self {
            Self::Memory => Some("memory"),
            Self::Interval => Some("interval"),
            Self::Fsync => Some("fsync"),
            Self::Baseline | Self::Floor => None,
        }
    }
}

/// Where the programs are, and where servers keep their data.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) server: PathBuf,
    pub(crate) baseline: PathBuf,
    pub(crate) floor: PathBuf,
    pub(crate) directory: PathBuf,
}

/// One running server. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From the start of the process to its first 200 of `/readyz`.
    pub(crate) ready_after: Duration,
    data: PathBuf,
}

impl Server {
    /// Starts one on the data that `name` has, and waits until it is ready. `settings` are environment variables.
    pub(crate) fn start(
        programs: &Programs,
        kind: Kind,
        name: &str,
        settings: &[(&str, &str)],
    ) -> Outcome<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let data = programs.directory.join(name);
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]);
        match kind.durability() {
            Some(durability) => {
                command.arg(&programs.server).args(["serve", "--listen", &address.to_string()]);
                command.arg("--data-dir").arg(&data);
                command.env("TIDINGS_LOG_DURABILITY", durability);
                // Nothing but the load at hand is to be measured.
                command.env("TIDINGS_STREAM_KEEP_ALIVE", "1h").env("TIDINGS_SHUTDOWN_WINDOW", "1ms");
                command.env("RUST_LOG", "error").envs(settings.iter().copied());
            }
            None => {
                let program = if kind == Kind::Floor { &programs.floor } else { &programs.baseline };
                command.arg(program).arg(address.to_string());
            }
        }
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut server = Self { child, address, ready_after: Duration::ZERO, data };
        while !server.is_ready(kind) {
            if let Some(status) = server.child.try_wait()? {
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

    fn is_ready(&self, kind: Kind) -> bool {
        match kind {
            Kind::Baseline | Kind::Floor => TcpStream::connect(self.address).is_ok(),
            _ => {
                Http::connect(self.address).and_then(|mut http| http.send("GET", "/readyz", "", b"")).is_ok()
            }
        }
    }

    /// CPU time used by all its threads so far. The kernel counts it in steps of 10 ms.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let stat = fs::read_to_string(self.proc("stat"))?;
        let after_name = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?.1;
        let ticks: u64 =
            after_name.split_whitespace().skip(11).take(2).map_while(|t| t.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Its proportional set size, in KiB.
    pub(crate) fn pss_kib(&self) -> Outcome<u64> {
        field_kib(&self.proc("smaps_rollup"), "Pss:")
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
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("server ended with {status} after SIGTERM").into())
        }
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
