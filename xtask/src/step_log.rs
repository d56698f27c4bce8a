//! The output of one step in a file of its own: `cargo xtask test` and `ci` show it only if the step fails.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::workspace::Result;

/// A file that a command and this tool append to.
pub(crate) struct StepLog {
    path: PathBuf,
}

impl StepLog {
    /// Names the file by the step's number, so that the folder lists steps in their order.
    pub(crate) fn new(folder: &Path, number: usize, step: &str) -> Self {
        let name = step.replace(|character: char| !character.is_ascii_alphanumeric(), "-");
        // A step that installs packages has all of them in its name.
        let name: String = name.chars().take(60).collect();
        Self { path: folder.join(format!("{number:02}-{}.log", name.trim_end_matches('-'))) }
    }

    /// Creates the file. Writes to any copy of it append, so output and errors share it.
    ///
    /// # Errors
    /// The file or its folder cannot be made.
    pub(crate) fn file(&self) -> Result<File> {
        let failed = |error| format!("its log {} cannot be made: {error}", self.path.display());
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        // Removes the file of an earlier run; an absent file is no fault.
        let _ = fs::remove_file(&self.path);
        File::options().create(true).append(true).open(&self.path).map_err(failed)
    }

    /// Prints the whole file, and its path.
    pub(crate) fn print(&self) {
        match fs::read(&self.path) {
            Ok(output) => print!("{}", String::from_utf8_lossy(&output)),
            Err(error) => println!("  {}: {error}", self.path.display()),
        }
        println!("   the output above is in {}", self.path.display());
    }
}
