//! `cargo xtask test`: Rust, browser and checker, each with what it needs built or installed first.

use std::path::PathBuf;
use std::time::Duration;

use crate::counts::Runner;
use crate::install::{self, NODE_PACKAGES};
use crate::process::{Counted, Step, run as run_step};
use crate::redis_versions;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// The checker's package, a folder of the workspace.
const CHECKER: &str = "checker";
/// Tells browser tests where the Pythons with packages are.
const PYTHONS_VARIABLE: &str = "TIDINGS_PYTHONS";
/// Tells browser tests which server to start.
const SERVER_VARIABLE: &str = "TIDINGS_BIN";

/// Tests of what does not depend on where the log is, and the variable that has them run over Redis: one suite for all brokers.
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
/// What the log of one node bounds, and Redis does not; and what counts on the order of stored and unstored events, which come
/// to a node in two ways over Redis.
const OF_ONE_BROKER: &[&str] = &[
    "idempotency_key_that_cannot_be_kept_is_refused",
    "head_and_body_are_the_same_from_a_shard_and_through_hyper",
];

/// The test of locks in real threads, and the variable that says how many seconds it runs.
const CONTENTION: (&str, &str, &str) = ("contention::", "TIDINGS_CONTENTION_SECONDS", "60");

const MINUTES: Duration = Duration::from_secs(60);

/// Installs what is missing, builds the server and runs all tests.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally) {
    install::run_all(workspace, tally);
    test_rust(workspace, tally);
    redis_versions::run_quick(workspace, tally);
    if build_server(workspace, tally) {
        test_node(workspace, tally);
        drive(workspace, tally, 60, &[]);
        drive(workspace, tally, 64, &["--redis"]);
    } else {
        tally.add("browser tests and checker: there is no server to run them against", 0, 1);
    }
}

/// `cargo xtask check`: builds the server as it now is and drives it with the checker.
pub(crate) fn check(workspace: &Workspace, tally: &mut Tally, seconds: u64, arguments: &[&str]) {
    if build_server(workspace, tally) {
        drive(workspace, tally, seconds, arguments);
    }
}

/// Drives the built server with the checker for `seconds`; `arguments` are passed on to it.
fn drive(workspace: &Workspace, tally: &mut Tally, seconds: u64, arguments: &[&str]) {
    if !workspace.has_folder(CHECKER) {
        println!("== checker: skipped, there is no folder `{CHECKER}`");
        return;
    }
    let mut command =
        workspace.cargo(&["run", "--locked", "--release", "--package", CHECKER, "--", "--server"]);
    command.arg(server(workspace)).args(["--seconds", &seconds.to_string()]).args(arguments);
    // Building the checker comes on top of the time that it runs.
    let limit = Duration::from_secs(seconds) * 2 + MINUTES * 20;
    run_step(tally, Step { name: "checker", command, counted: Counted::Tests(Runner::Checker), limit });
}

fn test_rust(workspace: &Workspace, tally: &mut Tally) {
    // Tests of other packages start the server, too.
    let build = workspace.cargo(&["build", "--locked", "--package", "tidings-server"]);
    run_step(
        tally,
        Step { name: "build", command: build, counted: Counted::Preparation, limit: MINUTES * 30 },
    );
    let test = workspace.cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
    run_step(
        tally,
        Step {
            name: "cargo test",
            command: test,
            counted: Counted::Tests(Runner::Cargo),
            limit: MINUTES * 40,
        },
    );
    contend(workspace, tally);
    let mut over_redis = workspace.cargo(&["test", "--locked", "--workspace", "--test", "main", "--"]);
    over_redis.args(OF_ALL_BROKERS).env(OVER_REDIS.0, OVER_REDIS.1);
    for test in OF_ONE_BROKER {
        over_redis.args(["--skip", test]);
    }
    run_step(
        tally,
        Step {
            name: "cargo test over Redis",
            command: over_redis,
            counted: Counted::Tests(Runner::Cargo),
            limit: MINUTES * 20,
        },
    );
}

/// Has publishes, scrapes and trims contend for a minute, with nothing beside them: a deadlock needs them at the same moment.
fn contend(workspace: &Workspace, tally: &mut Tally) {
    let mut command = workspace.cargo(&["test", "--locked", "--workspace", "--test", "main", "--"]);
    command.args([CONTENTION.0, "--nocapture"]).env(CONTENTION.1, CONTENTION.2);
    let counted = Counted::Tests(Runner::Cargo);
    run_step(tally, Step { name: "contention for a minute", command, counted, limit: MINUTES * 5 });
}

fn build_server(workspace: &Workspace, tally: &mut Tally) -> bool {
    let command = workspace.cargo(&["build", "--locked", "--release", "--package", "tidings-server"]);
    run_step(
        tally,
        Step { name: "build --release", command, counted: Counted::Preparation, limit: MINUTES * 30 },
    )
}

fn test_node(workspace: &Workspace, tally: &mut Tally) {
    for folder in NODE_PACKAGES {
        if !workspace.has_folder(folder) {
            println!("== npm test: skipped, there is no folder `{folder}`");
            continue;
        }
        let mut command = workspace.command("npm");
        command.arg("test").current_dir(workspace.root.join(folder)).env(SERVER_VARIABLE, server(workspace));
        command.env(PYTHONS_VARIABLE, workspace.target.join("python"));
        let name = format!("npm test in {folder}");
        run_step(
            tally,
            Step { name: &name, command, counted: Counted::Tests(Runner::Node), limit: MINUTES * 15 },
        );
    }
}

fn server(workspace: &Workspace) -> PathBuf {
    workspace.target.join("release").join("tidings")
}
