//! `cargo xtask generate`: files of the repository that are written by a program, so that they cannot fall behind it.

use std::path::Path;

use crate::public_api;
use crate::tally::Tally;
use crate::workspace::{Result, Workspace};

/// A generated file: its path, relative to the root, and the function that makes its text.
pub(crate) struct Generated {
    pub(crate) path: &'static str,
    pub(crate) text: fn(&Workspace) -> Result<String>,
}

/// Every generated file of the repository.
const FILES: &[Generated] = &[
    Generated { path: "docs/settings.md", text: settings },
    Generated { path: "crates/tidings/public-api.txt", text: |it| public_api::list(it, "tidings") },
    Generated {
        path: "crates/tidings-client/public-api.txt",
        text: |it| public_api::list(it, "tidings-client"),
    },
    Generated {
        path: "crates/tidings-protocol/public-api.txt",
        text: |it| public_api::list(it, "tidings-protocol"),
    },
];

/// The page of all settings, as the program itself prints it.
fn settings(workspace: &Workspace) -> Result<String> {
    let output = workspace
        .cargo(&["run", "--quiet", "--locked", "--package", "tidings-server", "--", "check", "--markdown"])
        .output()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "`tidings check --markdown` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    String::from_utf8(output.stdout)
        .map_err(|error| format!("`tidings check --markdown` is not text: {error}"))
}

/// Writes the files whose text has changed.
pub(crate) fn write_all(workspace: &Workspace) -> Result<()> {
    for path in write(workspace, FILES)? {
        println!("wrote {path}");
    }
    Ok(())
}

/// Counts one check: that no file differs from what would be written.
pub(crate) fn check_all(workspace: &Workspace, tally: &mut Tally) {
    tally.check("generated files", || outdated(workspace, FILES));
}

fn write<'a>(workspace: &Workspace, files: &'a [Generated]) -> Result<Vec<&'a str>> {
    let mut written = Vec::new();
    for file in files {
        let text = (file.text)(workspace)?;
        if is_current(&workspace.root, file, &text) {
            continue;
        }
        let path = workspace.root.join(file.path);
        let folder = path.parent().unwrap_or(&workspace.root);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| format!("{} cannot be written: {error}", file.path))?;
        written.push(file.path);
    }
    Ok(written)
}

fn outdated(workspace: &Workspace, files: &[Generated]) -> Result<Vec<String>> {
    let mut outdated = Vec::new();
    for file in files {
        let text = (file.text)(workspace)?;
        if !is_current(&workspace.root, file, &text) {
            outdated.push(format!("{} is out of date; run `cargo xtask generate`", file.path));
        }
    }
    Ok(outdated)
}

fn is_current(root: &Path, file: &Generated, text: &str) -> bool {
    std::fs::read(root.join(file.path)).is_ok_and(|bytes| bytes == text.as_bytes())
}

#[cfg(test)]
mod tests;
