//! `run.json`: how the last run ended, and whether the directory is the one that it ran in.

use std::{
    fs::{self, File, Metadata},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use crate::files::{self, replace_with};

const FILE_NAME: &str = "run.json";

/// The record of the last run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunRecord {
    boot_id: String,
    sync_each_batch: bool,
    clean: bool,
    /// Where a clean run ended.
    head: Option<u64>,
    /// A loss that was found and cut out of the files, until the checkpoint tells of it.
    untold: Option<String>,
    /// When the file that this stands in was created, in nanoseconds since 1970, if its file system says that. A copy of the
    /// file was created later.
    #[serde(default)]
    created_at: Option<u64>,
    #[serde(skip)]
    is_copy: bool,
}

/// A change that a start needs.
#[derive(Debug)]
pub(super) enum Repair {
    /// A file without a byte goes.
    Remove(PathBuf),
    /// A file that is no part of the log is renamed.
    SetAside(PathBuf),
    /// An end that is not whole is cut off.
    Cut { file: Arc<File>, bytes: u64 },
    /// A segment with bad bytes before good ones is written anew, so that its damage is told once.
    Rewrite { first: u64 },
}

/// A run that takes no event yet.
#[derive(Debug)]
pub(super) struct RunStart {
    /// Made from the last to the first: they do not depend on one another.
    pub(super) repairs: Vec<Repair>,
    /// Why acknowledged entries may be missing; no checkpoint tells of it yet.
    pub(super) lost: Option<String>,
    /// Only the checkpoint is to be written.
    pub(super) has_begun: bool,
}

/// How a run stands.
pub(super) enum RunState<'a> {
    /// It has begun, or goes on; what it found missing is not on record yet.
    Running { untold: Option<&'a str> },
    /// It has ended, with this head.
    Clean { head: u64 },
}

/// Records how this run stands.
pub(super) fn write(directory: &Path, sync_each_batch: bool, run_state: &RunState<'_>) -> io::Result<()> {
    let (clean, head, untold) = match run_state {
        RunState::Running { untold } => (false, None, untold.map(str::to_owned)),
        RunState::Clean { head } => (true, Some(*head), None),
    };
    let run = RunRecord {
        boot_id: boot_id(),
        sync_each_batch,
        clean,
        head,
        untold,
        created_at: None,
        is_copy: false,
    };
    put(directory, &run)
}

fn put(directory: &Path, run: &RunRecord) -> io::Result<()> {
    replace_with(directory, FILE_NAME, &|file: &File| {
        let run = RunRecord { created_at: created_at(&file.metadata()?), ..run.clone() };
        serde_json::to_vec(&run).map_err(io::Error::other)
    })
}

/// Reads the record; `None` if there is none, or none that can be read.
pub(super) fn read(directory: &Path) -> io::Result<Option<RunRecord>> {
    let Some(bytes) = files::read(directory, FILE_NAME)? else { return Ok(None) };
    let Ok(mut run) = serde_json::from_slice::<RunRecord>(&bytes) else { return Ok(None) };
    let created_at = created_at(&fs::metadata(directory.join(FILE_NAME))?);
    run.is_copy = run.created_at.zip(created_at).is_some_and(|(then, now)| then != now);
    Ok(Some(run))
}

/// Makes a copy of a directory count as the directory itself.
#[cfg(test)]
pub(in crate::log) fn adopt_copy(directory: &Path) {
    if let Some(run) = read(directory).unwrap() {
        put(directory, &run).unwrap();
    }
}

impl RunRecord {
    /// Why acknowledged entries may be missing from a log that ends at `head`.
    pub(super) fn fault(&self, head: u64) -> Option<String> {
        if let Some(untold) = &self.untold {
            return Some(untold.clone());
        }
        if self.is_copy {
            return Some(
                "the directory is a copy; the log that it was copied from may have taken events since".into(),
            );
        }
        if let Some(end) = self.head.filter(|end| self.clean && *end > head) {
            return Some(format!(
                "the last run ended clean after event {end}, and {head} is the last that is left"
            ));
        }
        // If the kernel does not name its runs, any may be another.
        let may_be_another_boot = self.boot_id.is_empty() || self.boot_id != boot_id();
        (!self.clean && !self.sync_each_batch && may_be_another_boot)
            .then(|| "the machine went down while events of the last second were not yet on disk".into())
    }
}

/// Names this run of the machine; empty if the kernel does not say.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn created_at(file: &Metadata) -> Option<u64> {
    let since = file.created().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}
