//! `cargo xtask ci`: all that must hold before a change lands. Every step runs, also after one has failed.

use crate::process::{self, CHECK_LIMIT};
use crate::suite::{self, Part};
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{generate, tidy, tools};

/// Runs the quick checks first, then the tests.
pub(crate) fn run(workspace: &Workspace, tally: &mut Tally) {
    let mut step = |name: &str, command| {
        process::check(tally, name, command, CHECK_LIMIT);
    };
    step("formatting", workspace.cargo(&["fmt", "--all", "--check"]));
    let lints = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step("lints", workspace.cargo(&lints));
    let mut docs = workspace.cargo(&["doc", "--locked", "--no-deps", "--workspace"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    step("docs", docs);

    tools::check_features(workspace, tally);
    tidy::run(workspace, tally);
    generate::check_all(workspace, tally);
    tools::check_dependencies(workspace, tally, false);
    tools::check_workflows(workspace, tally);
    suite::run(workspace, tally, Part::All);
}
