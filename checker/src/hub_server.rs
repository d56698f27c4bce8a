//! The real `tidings serve` process: started, killed, terminated, and restarted on the same port and directory.

use std::fs::OpenOptions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tidings_testkit::{ChildProcess, HubCommand};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::client_context::NodeEndpoint;
use crate::disk::Disk;
use crate::http;

/// Longest time from the start to readiness.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// Time over which a server that got SIGTERM ends its streams.
const SHUTDOWN_WINDOW: Duration = Duration::from_secs(1);
/// Longest time from the end of that window to the exit.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(3);
/// Interval at which a server that starts or ends is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes of the server's log in the error of a failed start.
const LOG_TAIL_BYTES: usize = 2000;
/// Settings of every server. Frequent positions: cuts meet some of them.
const SETTINGS: [(&str, &str); 2] = [("TIDINGS_STREAM_KEEP_ALIVE", "1s"), ("TIDINGS_SHUTDOWN_WINDOW", "1s")];

/// A server process and the parameters of its restarts.
pub(crate) struct HubServer {
    binary: PathBuf,
    directory: PathBuf,
    /// Disk for its data; `None` if the data are in its directory.
    pub(crate) disk: Option<Disk>,
    pub(crate) address: SocketAddr,
    settings: Vec<(&'static str, String)>,
    /// `None` while the process is down.
    process: Option<ChildProcess>,
    /// Changes before each SIGTERM.
    ending: watch::Sender<u64>,
}

impl HubServer {
    /// Starts a server with these environment variables, and waits until it is ready. Its data are on the disk, if there
    /// is one.
    pub(crate) async fn start(
        binary: &Path,
        directory: &Path,
        disk: Option<Disk>,
        settings: &[(&'static str, String)],
    ) -> Result<Self, String> {
        let describe = |error: io::Error| format!("{}: {error}", directory.display());
        std::fs::create_dir_all(directory).map_err(describe)?;
        // The port is free again, and stays the same across restarts.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(describe)?;
        let address = listener.local_addr().map_err(describe)?;
        drop(listener);
        let mut server = Self {
            binary: binary.into(),
            directory: directory.into(),
            disk,
            address,
            settings: settings.to_vec(),
            process: None,
            ending: watch::Sender::new(0),
        };
        server.restart().await?;
        Ok(server)
    }

    pub(crate) fn endpoint(&self) -> NodeEndpoint {
        NodeEndpoint { address: self.address, ending: self.ending.subscribe() }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    /// Changes a setting from the next start on.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.settings.retain(|(other, _)| *other != name);
        self.settings.push((name, value.into()));
    }

    /// Starts the process, and waits until it is ready.
    pub(crate) async fn restart(&mut self) -> Result<(), String> {
        self.start_again()?;
        self.until_ready().await
    }

    /// Starts the process without waiting.
    pub(crate) fn start_again(&mut self) -> Result<(), String> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path());
        let logs = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (output, errors) = logs.map_err(|error| format!("{}: {error}", self.log_path().display()))?;
        let mut command = self.command();
        self.process = Some(ChildProcess::spawn(command.stdout(output).stderr(errors)));
        Ok(())
    }

    /// Waits until the server is ready.
    pub(crate) async fn until_ready(&mut self) -> Result<(), String> {
        self.until("/readyz", 200).await
    }

    /// Waits until the server answers this path with this status.
    pub(crate) async fn until(&mut self, path: &str, status: u16) -> Result<(), String> {
        let deadline = Instant::now() + READY_DEADLINE;
        while Instant::now() < deadline {
            let response = timeout(Duration::from_secs(1), http::get(self.address, path)).await;
            if matches!(response, Ok(Ok((returned, _))) if returned == status) {
                return Ok(());
            }
            if let Some(end) = self.unasked_end() {
                return Err(end);
            }
            sleep(POLL_INTERVAL).await;
        }
        let seconds = READY_DEADLINE.as_secs();
        Err(self.describe(&format!("did not answer {path} with {status} within {seconds} s")))
    }

    /// Sends a signal, such as SIGSTOP or SIGCONT.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), String> {
        if let Some(end) = self.unasked_end() {
            return Err(end);
        }
        self.process.iter().for_each(|process| process.signal(signal));
        Ok(())
    }

    /// Changes the wall clock of the process from its next start on, by an offset in the notation of `faketime`. Its
    /// monotonic clock stays true.
    pub(crate) fn set_clock_offset(&mut self, offset: &str) -> Result<(), String> {
        let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
        let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
        let library = libraries.find(|library| library.is_file());
        let library =
            library.ok_or("libfaketimeMT.so.1 is not installed; install Debian's package faketime")?;
        self.set("LD_PRELOAD", &library.to_string_lossy());
        self.set("FAKETIME", offset);
        self.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Ok(())
    }

    /// Kills the process with SIGKILL, and waits for its end.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Sends SIGTERM, and waits for the end, which must come in time with exit code 0.
    pub(crate) async fn terminate(&mut self) -> Result<(), String> {
        self.ending.send_modify(|count| *count += 1);
        self.signal(Signal::TERM)?;
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let allowed = SHUTDOWN_WINDOW + SHUTDOWN_MARGIN;
        let deadline = Instant::now() + allowed;
        while process.is_running() {
            if Instant::now() >= deadline {
                let (window, allowed) = (SHUTDOWN_WINDOW.as_secs(), allowed.as_secs());
                return Err(format!(
                    "still ran {allowed} s after SIGTERM; its shutdown window is {window} s"
                ));
            }
            sleep(POLL_INTERVAL).await;
        }
        let status = process.wait();
        if status.success() {
            return Ok(());
        }
        Err(self.describe(&format!("ended with {status} after SIGTERM, expected exit code 0")))
    }

    /// Returns the exit status of a process that ended by itself.
    pub(crate) fn unasked_end(&mut self) -> Option<String> {
        let process = self.process.as_mut()?;
        if process.is_running() {
            return None;
        }
        let status = process.wait();
        Some(self.describe(&format!("ended by itself with {status}")))
    }

    /// Returns the first panic in the server's log. A panic of any task is a violation.
    pub(crate) fn panic(&self) -> Option<String> {
        let log = std::fs::read(self.log_path()).ok()?;
        let log = String::from_utf8_lossy(&log);
        let mut lines = log.lines().skip_while(|line| !line.contains("panicked at"));
        let first = [lines.next()?, lines.next().unwrap_or_default()].join(" ");
        let count = lines.filter(|line| line.contains("panicked at")).count() + 1;
        Some(format!("server panicked {count} times, first: {first}"))
    }

    fn command(&self) -> Command {
        let (program, data) = match &self.disk {
            None => (Command::new(&self.binary), self.directory.join("data")),
            Some(disk) => {
                let mut command = disk.enter();
                command.arg(&self.binary);
                (command, disk.path().join("data"))
            }
        };
        // The environment of the checker is cleared, and the working directory holds no tidings.toml.
        let hub = HubCommand::from_command(program).listen(&self.address.to_string()).data_dir(data);
        let hub = hub.directory(&self.directory).variables(SETTINGS);
        hub.variables(self.settings.iter().map(|(name, value)| (name, value))).into_command()
    }

    /// Text of an error with the end of the server's log.
    fn describe(&self, fault: &str) -> String {
        let text = std::fs::read(self.log_path()).unwrap_or_default();
        let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_TAIL_BYTES)..]);
        format!("{} at {} {fault}; its log ends:\n{tail}", self.binary.display(), self.address)
    }
}
