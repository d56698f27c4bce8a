//! `cargo xtask generate`: files of the repository that are written by a program, so that they cannot fall behind it.

use std::path::Path;

use crate::Result;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// A generated file: where it stands, relative to the root, and what makes its text.
pub(crate) struct Generated {
    pub(crate) path: &'static str,
    pub(crate) text: fn() -> String,
}

/// Every generated file of the repository. One line each, such as
/// `Generated { path: "docs/settings.md", text: settings::page }`.
const FILES: &[Generated] = &[];

/// Writes the files whose text has changed.
pub(crate) fn write_all(workspace: &Workspace) -> Result<()> {
    for path in write(&workspace.root, FILES)? {
        println!("wrote {path}");
    }
    Ok(())
}

/// Counts one check: that no file differs from what would be written.
pub(crate) fn check_all(workspace: &Workspace, tally: &mut Tally) {
    tally.check("generated files", || Ok(outdated(&workspace.root, FILES)));
}

fn write<'a>(root: &Path, files: &'a [Generated]) -> Result<Vec<&'a str>> {
    let mut written = Vec::new();
    for file in files.iter().filter(|file| !is_current(root, file)) {
        let path = root.join(file.path);
        let folder = path.parent().unwrap_or(root);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, (file.text)()))
            .map_err(|error| format!("{} cannot be written: {error}", file.path))?;
        written.push(file.path);
    }
    Ok(written)
}

fn outdated(root: &Path, files: &[Generated]) -> Vec<String> {
    files
        .iter()
        .filter(|file| !is_current(root, file))
        .map(|file| format!("{} is out of date; run `cargo xtask generate`", file.path))
        .collect()
}

fn is_current(root: &Path, file: &Generated) -> bool {
    std::fs::read(root.join(file.path)).is_ok_and(|bytes| bytes == (file.text)().as_bytes())
}

#[cfg(test)]
mod tests;
