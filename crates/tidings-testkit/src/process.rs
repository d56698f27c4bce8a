//! A child process that does not outlive its test, and the lines that it prints.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, TrySendError};
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::DEADLINE;

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub struct ChildProcess(Child);

impl ChildProcess {
    /// Starts the command. Its input is empty.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        Self(
            child.unwrap_or_else(|error| {
                panic!("{} cannot be started: {error}", command.get_program().display())
            }),
        )
    }
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The piped standard output; it can be taken once.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().expect("standard output is piped and was not taken")
    }

    /// The piped standard error; it can be taken once.
    pub fn take_stderr(&mut self) -> ChildStderr {
        self.0.stderr.take().expect("standard error is piped and was not taken")
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
    }
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Whether the process runs; false once it has exited.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }

    /// Sends SIGKILL, also to a stopped process, and waits for the exit.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.wait();
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let _ignored = self.0.kill();
        let _ignored = self.0.wait();
    }
}

/// Most lines that are kept until a test reads them.
const LINES_MAX: usize = 100_000;

/// Reads lines in a thread of its own, so that a full pipe never blocks the writer. Lines beyond 100,000 unread ones are dropped.
pub fn read_lines(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(LINES_MAX);
    thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = String::new();
        while source.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if let Err(TrySendError::Disconnected(_)) = sender.try_send(std::mem::take(&mut line)) {
                let _ignored = io::copy(&mut source, &mut io::sink());
                return;
            }
        }
    });
    receiver
}

/// Returns the lines through the first that contains `text`; as an error all lines, if they end or pause for [`DEADLINE`] before.
pub(crate) fn read_through(lines: &Receiver<String>, text: &str) -> Result<String, String> {
    let mut read = String::new();
    while let Ok(line) = lines.recv_timeout(DEADLINE) {
        read += &line;
        if line.contains(text) {
            return Ok(read);
        }
    }
    Err(read)
}
