//! Programs that check the code and come in packages: cargo-deny, cargo-hack, cargo-fuzz, actionlint.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::install;
use crate::process::{self, CHECK_LIMIT};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// The linter of workflows, from the Go module proxy.
const ACTIONLINT: (&str, &str) = ("github.com/rhysd/actionlint/cmd/actionlint", "v1.7.12");
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Returns a command for a program of `xtask/requirements.txt`, which is installed first.
pub(crate) fn packaged(workspace: &Workspace, tally: &mut Tally, name: &str) -> Command {
    let folder = install::tools(workspace, tally);
    workspace.command(&folder.join(name).to_string_lossy())
}

/// Checks versions, licences, bans and sources of dependencies against `deny.toml`; advisories too if `with_advisories`,
/// which are read from a git host.
pub(crate) fn check_dependencies(workspace: &Workspace, tally: &mut Tally, with_advisories: bool) {
    let mut command = packaged(workspace, tally, "cargo-deny");
    // An exception that no longer applies is a fault.
    command.args(["--locked", "check", "-D", "unmatched-skip", "-D", "unnecessary-skip"]);
    command.args(["bans", "licenses", "sources"]).args(with_advisories.then_some("advisories"));
    process::check(tally, "dependencies", command, LIMIT);
}

/// Lints each crate that has features with none of them, with each alone and with all: the lints of the workspace turn on
/// every feature that one crate asks for.
pub(crate) fn check_features(workspace: &Workspace, tally: &mut Tally) {
    let mut command = packaged(workspace, tally, "cargo-hack");
    command.args(["hack", "clippy", "--locked", "--package", "tidings", "--package", "tidings-redis"]);
    command.args(["--each-feature", "--all-targets", "--", "-D", "warnings"]);
    process::check(tally, "lints of each feature", command, CHECK_LIMIT);
}

/// Lints the workflows in `.github/`.
pub(crate) fn check_workflows(workspace: &Workspace, tally: &mut Tally) {
    let (module, version) = ACTIONLINT;
    let folder = workspace.target.join("go").join(version);
    let program: PathBuf = folder.join("actionlint");
    if !program.is_file() {
        let mut command = workspace.command("go");
        command.args(["install", &format!("{module}@{version}")]).env("GOBIN", folder);
        let name = format!("go install actionlint {version}");
        process::prepare(tally, &name, command, LIMIT);
    }
    let mut command = workspace.command(&program.to_string_lossy());
    // Scripts in workflows are one command each; shellcheck may be absent.
    command.args(["-shellcheck=", "-pyflakes="]);
    process::check(tally, "workflows", command, LIMIT);
}
