//! Runs the program `tidings` in the directory of a test.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::prelude::*;
use socket2::{Domain, Socket, Type};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidings");

/// Runs commands of the program in a directory, with an empty environment and no input.
pub(crate) trait RunTidings {
    fn directory(&self) -> &Path;

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.directory()).env_clear().stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> ProgramOutput {
        let output = self.command(arguments).envs(variables.iter().copied()).output().unwrap();
        ProgramOutput {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl RunTidings for TempDirectory {
    fn directory(&self) -> &Path {
        self.path()
    }
}

impl RunTidings for TestHub {
    fn directory(&self) -> &Path {
        &self.path
    }
}

/// Exit code and output of a command that has ended.
#[derive(Debug)]
pub(crate) struct ProgramOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl ProgramOutput {
    /// Asserts the exit code, and that standard error has each of these texts.
    #[track_caller]
    pub(crate) fn assert(&self, code: i32, texts: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is not in {}", self.stderr);
        }
        self
    }

    /// As [`ProgramOutput::assert`] of exit code 2, without standard output.
    #[track_caller]
    pub(crate) fn assert_refused(&self, texts: &[&str]) {
        assert_eq!(self.assert(2, texts).stdout, "");
    }
}

/// Variable that selects the broker of tests that hold for each of them: `redis`, or unset for the embedded one.
const BROKER: &str = "TIDINGS_TEST_BROKER";

/// A hub that is killed when it is dropped.
pub(crate) struct TestHub {
    process: HubProcess,
    path: PathBuf,
    /// The directory, unless a test owns it. It is removed after the exit.
    _directory: Option<TempDirectory>,
    /// The broker that [`BROKER`] selected.
    _redis: Option<RedisServer>,
}

impl Deref for TestHub {
    type Target = HubProcess;

    fn deref(&self) -> &HubProcess {
        &self.process
    }
}

impl DerefMut for TestHub {
    fn deref_mut(&mut self) -> &mut HubProcess {
        &mut self.process
    }
}

impl TestHub {
    fn new(process: HubProcess, path: &Path) -> Self {
        Self { process, path: path.to_owned(), _directory: None, _redis: None }
    }

    /// Keeps the directory as long as the hub.
    pub(crate) fn owning(self, directory: TempDirectory) -> Self {
        Self { _directory: Some(directory), ..self }
    }

    /// Starts a hub by any command, and waits until it prints its address.
    #[track_caller]
    pub(crate) fn start(command: Command) -> Self {
        let path = command.get_current_dir().unwrap_or(Path::new(".")).to_owned();
        Self::new(HubProcess::start(command), &path)
    }

    /// Starts a hub that keeps its log in a directory of its own.
    #[track_caller]
    pub(crate) fn serve(variables: &[(&str, &str)]) -> Self {
        let directory = TempDirectory::create();
        Self::serve_in(&directory, variables).owning(directory)
    }

    /// Starts a hub that keeps its log in `data` below the directory.
    #[track_caller]
    pub(crate) fn serve_in(directory: &TempDirectory, variables: &[(&str, &str)]) -> Self {
        Self::new(command(directory, variables).data_dir("data").start(), directory.path())
    }

    /// As [`TestHub::serve_in`], without waiting until the log is open.
    #[track_caller]
    pub(crate) fn start_without_log(directory: &TempDirectory, variables: &[(&str, &str)]) -> Self {
        Self::new(command(directory, variables).data_dir("data").start_without_log(), directory.path())
    }

    /// Starts a hub that keeps nothing on disk, over the broker that [`BROKER`] selects.
    #[track_caller]
    pub(crate) fn in_memory(variables: &[(&str, &str)]) -> Self {
        let directory = TempDirectory::create();
        Self::in_memory_in(&directory, variables).owning(directory)
    }

    /// As [`TestHub::in_memory`], in this directory.
    #[track_caller]
    pub(crate) fn in_memory_in(directory: &TempDirectory, variables: &[(&str, &str)]) -> Self {
        let redis = match std::env::var(BROKER).as_deref() {
            Err(_) => return Self::new(command(directory, variables).memory().start(), directory.path()),
            Ok("redis") => RedisServer::start(),
            Ok(other) => panic!("{BROKER} is {other:?}; set it to redis, or unset it"),
        };
        let hub = Self::with_redis_in(directory, &redis.url(), variables);
        hub.wait_until_ready();
        Self { _redis: Some(redis), ..hub }
    }

    /// Starts a hub whose log is in a Redis, and that keeps nothing on disk.
    #[track_caller]
    pub(crate) fn with_redis(redis: &RedisServer, variables: &[(&str, &str)]) -> Self {
        Self::with_redis_at(&redis.url(), variables)
    }

    /// As [`TestHub::with_redis`], by the URL.
    #[track_caller]
    pub(crate) fn with_redis_at(url: &str, variables: &[(&str, &str)]) -> Self {
        let directory = TempDirectory::create();
        Self::with_redis_in(&directory, url, variables).owning(directory)
    }

    #[track_caller]
    fn with_redis_in(directory: &TempDirectory, url: &str, variables: &[(&str, &str)]) -> Self {
        let variables = [variables, &[("REDIS_URL", url)]].concat();
        Self::new(command(directory, &variables).memory().start(), directory.path())
    }

    /// Opens a connection whose socket receives few bytes that are not read.
    pub(crate) fn connect_with_small_buffer(&self) -> HttpConnection {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        socket.connect(&self.authority().parse::<SocketAddr>().unwrap().into()).unwrap();
        HttpConnection::from_socket(socket.into())
    }

    /// Opens a stream over [`TestHub::connect_with_small_buffer`], and reads through its position only.
    #[track_caller]
    pub(crate) fn open_slow_stream(&self, path: &str) -> SseReader {
        let mut connection = self.connect_with_small_buffer();
        connection.send(self.encode_request("GET", &with_position(path), &[], b""));
        let mut reader = SseReader::open(connection);
        reader.position();
        reader
    }

    /// The working directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the exit; returns the exit status and the unread log.
    pub(crate) fn wait_for_exit(self) -> (ExitStatus, String) {
        self.process.wait_for_exit()
    }

    /// Waits for the exit, asserts its code, and returns the unread log.
    #[track_caller]
    pub(crate) fn assert_exit(self, code: i32) -> String {
        self.process.assert_exit(code)
    }

    /// Sends SIGTERM, waits until the hub exits with code 0, and returns the unread log.
    #[track_caller]
    pub(crate) fn terminate(self) -> String {
        self.process.terminate()
    }

    /// Sends SIGKILL, and waits for the exit.
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }
}

/// Whether this kernel and user may run a program in namespaces of its own, given as arguments of `unshare`.
pub(crate) fn can_unshare(arguments: &[&str]) -> bool {
    let status = Command::new("unshare").args(arguments).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn command(directory: &TempDirectory, variables: &[(&str, &str)]) -> HubCommand {
    HubCommand::new(PROGRAM).directory(directory.path()).variables(variables.iter().copied())
}
