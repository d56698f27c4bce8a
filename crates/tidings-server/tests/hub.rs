//! Runs the program `tidings` in the directory of a test.

use std::{
    ops::{Deref, DerefMut},
    process::{Command, ExitStatus, Stdio},
};

use tidings_testkit::{HubCommand, HubProcess, RedisServer, TempDirectory};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidings");

/// Runs commands of the program in a directory, with an empty environment and no input.
pub(crate) trait RunTidings {
    fn command(&self, arguments: &[&str]) -> Command;

    /// Runs a command to its end.
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
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command
    }
}

/// Exit code and output of a command that has ended.
#[derive(Debug)]
pub(crate) struct ProgramOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Variable that selects the broker of tests that hold for each of them: `redis`, or unset for the embedded one.
const BROKER: &str = "TIDINGS_TEST_BROKER";

/// A hub that is killed when it is dropped.
pub(crate) struct TestHub {
    process: HubProcess,
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

impl From<HubProcess> for TestHub {
    fn from(process: HubProcess) -> Self {
        Self { process, _redis: None }
    }
}

impl TestHub {
    /// Starts a hub by any command, and waits until it prints its address.
    #[track_caller]
    pub(crate) fn start(command: Command) -> Self {
        HubProcess::start(command).into()
    }

    /// Starts a hub that keeps its log in `data` below the directory.
    #[track_caller]
    pub(crate) fn serve(directory: &TempDirectory, variables: &[(&str, &str)]) -> Self {
        command(directory, variables).data_dir("data").start().into()
    }

    /// As [`TestHub::serve`], without waiting until the log is open.
    #[track_caller]
    pub(crate) fn start_without_log(directory: &TempDirectory, variables: &[(&str, &str)]) -> Self {
        command(directory, variables).data_dir("data").start_without_log().into()
    }

    /// Starts a hub that keeps nothing on disk, over the broker that [`BROKER`] selects.
    #[track_caller]
    pub(crate) fn in_memory(directory: &TempDirectory, variables: &[(&str, &str)]) -> Self {
        let command = command(directory, variables).memory();
        match std::env::var(BROKER).as_deref() {
            Err(_) => command.start().into(),
            Ok("redis") => {
                let redis = RedisServer::start();
                let process = command.variables([("REDIS_URL", redis.url())]).start();
                process.wait_until_ready();
                Self { process, _redis: Some(redis) }
            }
            Ok(other) => panic!("{BROKER} is {other:?}; set it to redis, or unset it"),
        }
    }

    /// Starts a hub whose log is in a Redis, and that keeps nothing on disk.
    #[track_caller]
    pub(crate) fn with_redis(
        directory: &TempDirectory,
        redis: &RedisServer,
        variables: &[(&str, &str)],
    ) -> Self {
        Self::with_redis_at(directory, &redis.url(), variables)
    }

    /// As [`TestHub::with_redis`], by the URL.
    #[track_caller]
    pub(crate) fn with_redis_at(directory: &TempDirectory, url: &str, variables: &[(&str, &str)]) -> Self {
        command(directory, &[&[("REDIS_URL", url)], variables].concat()).memory().start().into()
    }

    /// Waits for the exit; returns the exit status and the unread log.
    pub(crate) fn wait_for_exit(self) -> (ExitStatus, String) {
        self.process.wait_for_exit()
    }

    /// Sends SIGTERM, and waits until the hub exits with code 0.
    #[track_caller]
    pub(crate) fn terminate(self) {
        self.process.terminate();
    }

    /// Sends SIGKILL, and waits for the exit.
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }
}

fn command(directory: &TempDirectory, variables: &[(&str, &str)]) -> HubCommand {
    HubCommand::new(PROGRAM).directory(directory.path()).variables(variables.iter().copied())
}
