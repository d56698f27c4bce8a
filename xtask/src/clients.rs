//! `cargo xtask clients`: the matrix of client libraries, those of Go, Maven and crates.io too.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::counts::Runner;
use crate::install;
use crate::process;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// The adapters of all registries, a folder each.
const SOURCES: &str = "tests/clients";
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Builds the adapters that need a toolchain of their own, and plays the script to every library.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally) {
    install::run_all(workspace, tally);
    install::toolchains(workspace, tally);
    let built = workspace.target.join("clients");
    for (name, command) in [
        ("clients of Go", go(workspace, &built)),
        ("libraries of Maven", maven(workspace, &built)),
        ("clients of Maven", javac(workspace, &built)),
        ("clients of crates.io", cargo(workspace, &built)),
    ] {
        process::prepare(tally, name, command, LIMIT);
    }
    let mut command =
        workspace.cargo(&["test", "--locked", "--package", "tidings-server", "--test", "main", "--"]);
    command.args(["client_libraries::", "--include-ignored"]);
    process::test(tally, "matrix of clients", command, Runner::Cargo, LIMIT);
}

fn go(workspace: &Workspace, built: &Path) -> Command {
    let mut command = workspace.command("go");
    command.current_dir(workspace.root.join(SOURCES).join("go"));
    // The folder's end makes Go write a program for each package.
    command.args(["build", "-mod=readonly", "-o"]).arg(built.join("go/")).arg("./...");
    command
}

fn maven(workspace: &Workspace, built: &Path) -> Command {
    let mut command = workspace.command("mvn");
    command.current_dir(workspace.root.join(SOURCES).join("java"));
    command.args(["--batch-mode", "--quiet", "--no-transfer-progress", "dependency:copy-dependencies"]);
    command.arg(format!("-DoutputDirectory={}", built.join("java/jars").display()));
    command
}

fn javac(workspace: &Workspace, built: &Path) -> Command {
    let mut command = workspace.command("javac");
    command.current_dir(workspace.root.join(SOURCES).join("java"));
    command.arg("-cp").arg(built.join("java/jars/*")).arg("-d").arg(built.join("java/classes"));
    command.args(["Protocol.java", "OkHttpSse.java", "LaunchDarkly.java"]);
    command
}

fn cargo(workspace: &Workspace, built: &Path) -> Command {
    let mut command = workspace.cargo(&["build", "--locked", "--release", "--bins", "--manifest-path"]);
    command.arg(workspace.root.join(SOURCES).join("rust/Cargo.toml"));
    command.arg("--target-dir").arg(built.join("rust"));
    command
}
