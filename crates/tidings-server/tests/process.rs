//! Runs the program in a directory and an environment of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, TrySendError};
use std::time::{Duration, Instant};

use super::redis_server::RedisServer;

/// A directory that is gone after the test.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidings-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The program with these arguments, in this directory, with an environment that holds nothing.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        command.args(arguments).current_dir(&self.0).env_clear().stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
        let output = self.command(arguments).envs(variables.iter().copied()).output().unwrap();
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A hub that runs, and is killed if the test forgets it.
pub(crate) struct Hub {
    child: Child,
    /// The page's address, from the first line of output.
    pub(crate) url: String,
    /// What it printed from the second line on is read from here.
    output: BufReader<std::process::ChildStdout>,
    /// Lines of its log, read all the time: a full pipe would stop the hub.
    log: Mutex<Receiver<String>>,
    /// Where its log is, if a test that says nothing of that runs over Redis.
    redis: Option<RedisServer>,
}

/// Tests that say nothing of where the log is run over a Redis of their own where this is set to `redis`: what is promised does
/// not depend on it.
const BROKER: &str = "TIDINGS_TEST_BROKER";

impl Hub {
    /// Starts a hub and waits until it says where it listens.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let log = lines_of(child.stderr.take().unwrap());
        let mut first = String::new();
        output.read_line(&mut first).unwrap();
        let Some(at) = first.find("http://").or(first.find("https://")) else {
            let errors: Vec<String> = log.iter().collect();
            panic!("no address in {first:?}; {}", errors.concat());
        };
        Self { child, url: first[at..].trim().to_owned(), output, log: Mutex::new(log), redis: None }
    }

    /// Starts a hub that keeps its log in `data` below the directory, and waits until it says where it listens. Its log may not be
    /// open yet.
    pub(crate) fn unopened(directory: &Directory, variables: &[(&str, &str)]) -> Self {
        let mut command = serving(directory, variables);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let log = Mutex::new(lines_of(child.stderr.take().unwrap()));
        let mut hub = Self { child, url: String::new(), output, log, redis: None };
        let lines = hub.log_to("listening address=");
        hub.url = format!("http://{}/", lines.trim_end().rsplit('=').next().unwrap());
        hub
    }

    /// Starts a hub whose log is where this run of the tests has it.
    fn start_over_broker(mut command: Command) -> Self {
        match std::env::var(BROKER).as_deref() {
            Err(_) => Self::start(command),
            Ok("redis") => {
                let redis = RedisServer::start();
                command.env("REDIS_URL", redis.url());
                let mut hub = Self::start(command);
                hub.redis = Some(redis);
                hub.until_ready();
                hub
            }
            Ok(other) => panic!("{BROKER} is {other:?}; it is redis, or not set"),
        }
    }

    /// Starts a hub on a free port that keeps its log in `data` below the directory.
    pub(crate) fn serve(directory: &Directory, variables: &[(&str, &str)]) -> Self {
        Self::start(serving(directory, variables))
    }

    /// Starts a hub on a free port that keeps nothing on disk.
    pub(crate) fn in_memory(directory: &Directory, variables: &[(&str, &str)]) -> Self {
        let mut command = directory.command(&["serve", "--listen", "127.0.0.1:0", "--memory"]);
        command.envs(variables.iter().copied());
        Self::start_over_broker(command)
    }

    /// Starts a hub on a free port that shares the log in a Redis, and keeps nothing on disk.
    pub(crate) fn with_redis(directory: &Directory, redis: &RedisServer, variables: &[(&str, &str)]) -> Self {
        Self::with_redis_at(directory, &redis.url(), variables)
    }

    /// As `with_redis`, for a Redis behind a gate.
    pub(crate) fn with_redis_at(directory: &Directory, url: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = directory.command(&["serve", "--listen", "127.0.0.1:0", "--memory"]);
        command.env("REDIS_URL", url).envs(variables.iter().copied());
        Self::start(command)
    }

    /// Waits until it is ready.
    #[track_caller]
    pub(crate) fn until_ready(&self) {
        let mut why = String::new();
        let holds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the node is ready", || {
                let answer = self.get("/readyz");
                why = answer.text();
                answer.head.status == 200
            });
        }));
        assert!(holds.is_ok(), "{why}");
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        self.url.trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/')
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it has, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// Waits for the end; answers how it ended and what it logged.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let log: Vec<String> = self.log.get_mut().unwrap().iter().collect();
        (self.child.wait().unwrap(), log.concat())
    }

    /// Ends it as an operator does, and waits until it is gone.
    pub(crate) fn stop(self) {
        self.signal(rustix::process::Signal::TERM);
        let (status, log) = self.wait();
        assert_eq!(status.code(), Some(0), "{log}");
    }

    /// Ends it without any warning.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Reads one more line of output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// Waits until a line of its log holds the text.
    pub(crate) fn wait_for_log(&mut self, text: &str) {
        self.log_to(text);
    }

    /// The lines of its log that were not looked at yet, to the first that holds the text.
    pub(crate) fn log_to(&mut self, text: &str) -> String {
        let mut lines = String::new();
        while let Ok(line) = self.log.get_mut().unwrap().recv_timeout(Duration::from_secs(20)) {
            lines += &line;
            if line.contains(text) {
                return lines;
            }
        }
        panic!("the log goes on, or ended, without {text:?}: {lines}");
    }
}

/// A hub on a free port that keeps its log in `data` below the directory.
fn serving(directory: &Directory, variables: &[(&str, &str)]) -> Command {
    let mut command = directory.command(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"]);
    command.envs(variables.iter().copied());
    command
}

/// Lines that wait for a test to look at them; what writes more is not held up, and loses the surplus.
const LINES_MAX: usize = 100_000;

/// Reads lines in a thread of their own, to their end.
pub(crate) fn lines_of(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(LINES_MAX);
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = String::new();
        while source.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if let Err(TrySendError::Disconnected(_)) = sender.try_send(std::mem::take(&mut line)) {
                // Nobody listens any more; what writes must still not be held up.
                let _bytes = std::io::copy(&mut source, &mut std::io::sink());
                return;
            }
        }
    });
    receiver
}

/// Waits until something holds; fails with `what` where it never does.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port outside the ephemeral range, so that it stays free while the hub is away.
pub(crate) fn quiet_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = 20_000 + std::process::id() % 8_000;
    let ports = std::iter::repeat_with(|| begin + NEXT.fetch_add(1, Ordering::Relaxed));
    let mut ports = ports.map(|port| u16::try_from(port).unwrap());
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
