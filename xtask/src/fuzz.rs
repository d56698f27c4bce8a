//! `cargo xtask fuzz`: runs the targets in `fuzz/` for a given time each, on the stable toolchain.

use std::time::Duration;

use crate::process;
use crate::tally::Tally;
use crate::tools;
use crate::workspace::{Result, Workspace};

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Fuzzes `target`, or every target, for `seconds` each; each counts as one.
pub(crate) fn run(
    workspace: &Workspace,
    tally: &mut Tally,
    seconds: u64,
    target: Option<&str>,
) -> Result<()> {
    let known = targets(workspace, tally)?;
    let chosen = match target {
        None => known,
        Some(name) if known.iter().any(|known| known == name) => vec![name.to_owned()],
        Some(name) => return Err(format!("no fuzz target `{name}`; there are {}", known.join(", "))),
    };
    for name in chosen {
        // Sanitizers need a nightly toolchain; without one a fault is a panic, which safe Rust gives anyway.
        let mut command = tools::packaged(workspace, tally, "cargo-fuzz");
        command.args(["run", "--features", "targets", "--sanitizer", "none", &name]);
        command.args(["--", &format!("-max_total_time={seconds}")]);
        let limit = BUILD_LIMIT + Duration::from_secs(seconds) * 2;
        process::check(tally, &format!("fuzz {name}"), command, limit);
    }
    Ok(())
}

fn targets(workspace: &Workspace, tally: &mut Tally) -> Result<Vec<String>> {
    let output = tools::packaged(workspace, tally, "cargo-fuzz")
        .arg("list")
        .output()
        .map_err(|error| format!("cargo fuzz list does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo fuzz list failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let names: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    if names.is_empty() { Err("fuzz/ has no targets".to_owned()) } else { Ok(names) }
}
