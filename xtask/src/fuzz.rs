//! `cargo xtask fuzz`: runs the targets in `fuzz/` for a given time each, on the stable toolchain.

use std::time::Duration;

use crate::Result;
use crate::process::{Counted, Step, run as run_step};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// The version of cargo-fuzz that is installed where this very one is missing.
const VERSION: &str = "0.13.2";
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Fuzzes `target`, or every target, for `seconds` each; each counts as one.
pub(crate) fn run(
    workspace: &Workspace,
    tally: &mut Tally,
    seconds: u64,
    target: Option<&str>,
) -> Result<()> {
    if !workspace.has_folder("fuzz") {
        return Err("there is no folder `fuzz`".to_owned());
    }
    install(workspace, tally)?;
    let known = targets(workspace)?;
    let chosen = match target {
        None => known,
        Some(name) if known.iter().any(|known| known == name) => vec![name.to_owned()],
        Some(name) => return Err(format!("no fuzz target `{name}`; there are {}", known.join(", "))),
    };
    for name in chosen {
        // Sanitizers need a nightly toolchain; without one a fault is a panic, which safe Rust gives anyway.
        let mut command = workspace.cargo(&["fuzz", "run", "--sanitizer", "none", &name, "--"]);
        command.arg(format!("-max_total_time={seconds}"));
        let limit = BUILD_LIMIT + Duration::from_secs(seconds) * 2;
        run_step(tally, Step { name: &format!("fuzz {name}"), command, counted: Counted::Check, limit });
    }
    Ok(())
}

fn install(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    let found = workspace.cargo(&["fuzz", "--version"]).output();
    let is_there = found.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .last()
            .is_some_and(|version| version == VERSION)
    });
    if is_there {
        return Ok(());
    }
    let command = workspace.cargo(&["install", "--locked", "--force", "cargo-fuzz", "--version", VERSION]);
    let name = format!("install cargo-fuzz {VERSION}");
    if run_step(tally, Step { name: &name, command, counted: Counted::Preparation, limit: BUILD_LIMIT }) {
        Ok(())
    } else {
        Err(format!("cargo-fuzz {VERSION} could not be installed"))
    }
}

fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let output = workspace
        .cargo(&["fuzz", "list"])
        .output()
        .map_err(|error| format!("cargo fuzz list does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo fuzz list failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let names: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    if names.is_empty() { Err("fuzz/ has no targets".to_owned()) } else { Ok(names) }
}
