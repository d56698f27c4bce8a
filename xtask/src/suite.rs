//! `cargo xtask test`: Rust, browser and checker, each with what it needs built or installed first.

use std::path::PathBuf;
use std::time::Duration;

use crate::counts::Runner;
use crate::install::{self, BROWSERS};
use crate::process::{self, MINUTES};
use crate::redis_versions;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// Folder of the Pythons with packages, for browser tests.
const PYTHONS_VARIABLE: &str = "TIDINGS_PYTHONS";
/// Server that browser tests start.
const SERVER_VARIABLE: &str = "TIDINGS_BIN";

/// Tests that do not depend on the broker, and the variable that runs them over Redis: one suite for all brokers.
const OF_ALL_BROKERS: &[&str] = &[
    "conformance::",
    "guide::",
    "history::",
    "http_hardening::",
    "input_validation::",
    "publish::",
    "response_heads::",
    "resume::",
    "shard_publishes::",
    "shard_streams::",
    "shutdown::",
    "slow_readers::",
    "streams::",
];
const OVER_REDIS: (&str, &str) = ("TIDINGS_TEST_BROKER", "redis");
/// Tests of the order of stored and transient events, which reach a node in two ways over Redis.
const OF_ONE_BROKER: &[&str] = &["head_and_body_are_the_same_from_a_shard_and_through_hyper"];

/// The test of locks in real threads, and the variable that says how many seconds it runs.
const CONTENTION: (&str, &str, &str) = ("contention::", "TIDINGS_CONTENTION_SECONDS", "60");

/// The part of the tests that `cargo xtask test` runs.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    All,
    /// Unit tests: nothing is installed, no server is started.
    Units,
    Browsers,
    /// Tests whose names contain this text.
    Named(&'a str),
}

/// Installs programs that are missing, builds the server, and runs tests.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally, part: Part<'_>) {
    match part {
        Part::All => run_all(workspace, tally),
        Part::Units => {
            let command = workspace.cargo(&["test", "--locked", "--workspace", "--lib", "--bins"]);
            process::test(tally, "unit tests", command, Runner::Cargo, MINUTES * 20);
        }
        Part::Browsers => {
            install::run_all(workspace, tally);
            if build_server(workspace, tally) {
                test_browsers(workspace, tally, &[]);
            }
        }
        Part::Named(filter) => run_named(workspace, tally, filter),
    }
}

fn run_all(workspace: &Workspace, tally: &mut Tally) {
    install::run_all(workspace, tally);
    test_rust(workspace, tally);
    redis_versions::run_quick(workspace, tally);
    if build_server(workspace, tally) {
        test_browsers(workspace, tally, &[]);
        drive(workspace, tally, 60, &[]);
        drive(workspace, tally, 64, &["--redis"]);
    } else {
        tally.add("browser tests and checker: there is no server to run them against", 0, 1);
    }
}

/// Runs the tests of each suite whose names contain `filter`. Browser tests are built and started only if a file of
/// theirs has that text.
fn run_named(workspace: &Workspace, tally: &mut Tally, filter: &str) {
    build(workspace, tally);
    let command = workspace.cargo(&["test", "--locked", "--workspace", "--no-fail-fast", "--", filter]);
    let files = workspace.files().unwrap_or_default();
    let has_filter = |file: &PathBuf| {
        let is_test = file.starts_with(BROWSERS) && file.to_string_lossy().ends_with(".test.js");
        is_test && workspace.text(file).is_ok_and(|text| text.is_some_and(|text| text.contains(filter)))
    };
    let files: Vec<PathBuf> = files.into_iter().filter(has_filter).collect();
    if files.is_empty() {
        process::test(tally, "cargo test", command, Runner::Cargo, MINUTES * 40);
        return;
    }
    // Here a filter of a browser test matches none in Rust, which is no fault.
    process::check(tally, "cargo test", command, MINUTES * 40);
    install::run_all(workspace, tally);
    if build_server(workspace, tally) {
        let names = files.iter().filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned()));
        let pattern = format!("--test-name-pattern={filter}");
        test_browsers(workspace, tally, &[vec![pattern], names.collect()].concat());
    }
}

/// `cargo xtask check`: builds the server and drives it with the checker.
pub(crate) fn check(workspace: &Workspace, tally: &mut Tally, seconds: u64, arguments: &[&str]) {
    if build_server(workspace, tally) {
        drive(workspace, tally, seconds, arguments);
    }
}

/// Drives the built server with the checker for `seconds`; `arguments` are passed on to it.
fn drive(workspace: &Workspace, tally: &mut Tally, seconds: u64, arguments: &[&str]) {
    let mut command =
        workspace.cargo(&["run", "--locked", "--release", "--package", "checker", "--", "--server"]);
    command.arg(server(workspace)).args(["--seconds", &seconds.to_string()]).args(arguments);
    // Building the checker comes on top of the time that it runs.
    let limit = Duration::from_secs(seconds) * 2 + MINUTES * 20;
    process::test(tally, "checker", command, Runner::Checker, limit);
}

fn test_rust(workspace: &Workspace, tally: &mut Tally) {
    build(workspace, tally);
    let test = workspace.cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
    process::test(tally, "cargo test", test, Runner::Cargo, MINUTES * 40);
    let main = ["test", "--locked", "--workspace", "--test", "main", "--"];
    // Publishes, scrapes and trims contend with nothing beside them: a deadlock needs them at the same moment.
    let mut contention = workspace.cargo(&main);
    contention.args([CONTENTION.0, "--nocapture"]).env(CONTENTION.1, CONTENTION.2);
    process::test(tally, "contention for a minute", contention, Runner::Cargo, MINUTES * 5);
    let mut over_redis = workspace.cargo(&main);
    over_redis.args(OF_ALL_BROKERS).env(OVER_REDIS.0, OVER_REDIS.1);
    over_redis.args(OF_ONE_BROKER.iter().flat_map(|test| ["--skip", test]));
    process::test(tally, "cargo test over Redis", over_redis, Runner::Cargo, MINUTES * 20);
}

/// Builds the server that tests of other packages start.
fn build(workspace: &Workspace, tally: &mut Tally) {
    let build = workspace.cargo(&["build", "--locked", "--package", "tidings-server"]);
    process::prepare(tally, "build", build, MINUTES * 30);
}

fn build_server(workspace: &Workspace, tally: &mut Tally) -> bool {
    let build = workspace.cargo(&["build", "--locked", "--release", "--package", "tidings-server"]);
    process::prepare(tally, "build --release", build, MINUTES * 30)
}

/// Runs the tests in browsers, with further `arguments` of Node's test runner.
fn test_browsers(workspace: &Workspace, tally: &mut Tally, arguments: &[String]) {
    let mut command = workspace.command("npm");
    command.args(["test", "--"]).args(arguments).current_dir(workspace.root.join(BROWSERS));
    command.env(SERVER_VARIABLE, server(workspace)).env(PYTHONS_VARIABLE, workspace.target.join("python"));
    process::test(tally, "npm test", command, Runner::Node, MINUTES * 15);
}

fn server(workspace: &Workspace) -> PathBuf {
    workspace.target.join("release").join("tidings")
}
