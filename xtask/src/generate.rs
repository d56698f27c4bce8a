//! `cargo xtask generate`: files of the repository that are written by a program, so that they cannot fall behind it.

use std::{path::Path, process::Command};

use crate::tally::Tally;
use crate::workspace::{Result, Workspace};

/// A generated file: where it stands, relative to the root, and what makes its text.
pub(crate) struct Generated {
    pub(crate) path: &'static str,
    pub(crate) text: fn(&Path) -> Result<String>,
}

/// Every generated file of the repository.
const FILES: &[Generated] = &[Generated { path: "docs/settings.md", text: settings }];

/// The page of all settings, as the program itself knows them.
fn settings(root: &Path) -> Result<String> {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--package", "tidings-server", "--", "check", "--markdown"])
        .current_dir(root)
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
    for path in write(&workspace.root, FILES)? {
        println!("wrote {path}");
    }
    Ok(())
}

/// Counts one check: that no file differs from what would be written.
pub(crate) fn check_all(workspace: &Workspace, tally: &mut Tally) {
    tally.check("generated files", || outdated(&workspace.root, FILES));
}

fn write<'a>(root: &Path, files: &'a [Generated]) -> Result<Vec<&'a str>> {
    let mut written = Vec::new();
    for file in files {
        let text = (file.text)(root)?;
        if is_current(root, file, &text) {
            continue;
        }
        let path = root.join(file.path);
        let folder = path.parent().unwrap_or(root);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| format!("{} cannot be written: {error}", file.path))?;
        written.push(file.path);
    }
    Ok(written)
}

fn outdated(root: &Path, files: &[Generated]) -> Result<Vec<String>> {
    let mut outdated = Vec::new();
    for file in files {
        let text = (file.text)(root)?;
        if !is_current(root, file, &text) {
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
