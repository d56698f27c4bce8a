//! `run.json`: the end of the last run, and whether the directory is a copy.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

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
    /// Head at the end of a clean run.
    head: Option<u64>,
    /// A loss that is repaired in the files, until the checkpoint reports it.
    #[serde(rename = "untold")]
    unreported_loss: Option<String>,
    /// Creation time of this file in nanoseconds since 1970, if the file system has it. A copy of the file has a later one.
    #[serde(default)]
    created_at: Option<u64>,
    #[serde(skip)]
    is_copy: bool,
}

/// A repair that a start needs.
#[derive(Debug)]
pub(super) enum Repair {
    /// Remove an empty file.
    Remove(PathBuf),
    /// Rename a file that is no part of the log.
    Quarantine(PathBuf),
    /// Truncate a partial batch at the end.
    Truncate { file: Arc<File>, bytes: u64 },
    /// Rewrite a segment with invalid bytes before valid ones, so that its damage is reported once.
    Compact { first: u64 },
}

/// A run that takes no event yet.
#[derive(Debug)]
pub(super) struct RunStart {
    /// Made from the last to the first: they are independent.
    pub(super) repairs: Vec<Repair>,
    /// Reason why acknowledged entries may be missing, until a checkpoint reports it.
    pub(super) lost: Option<String>,
    /// Whether only the checkpoint is missing.
    pub(super) has_begun: bool,
}

/// State of a run.
pub(super) enum RunState<'a> {
    /// The run goes on; a loss that it found is not in the checkpoint yet.
    Running { unreported_loss: Option<&'a str> },
    /// The run has ended with this head.
    Clean { head: u64 },
}

/// Records the state of this run.
pub(super) fn write(directory: &Path, sync_each_batch: bool, run_state: &RunState<'_>) -> io::Result<()> {
    let (clean, head, unreported_loss) = match run_state {
        RunState::Running { unreported_loss } => (false, None, unreported_loss.map(str::to_owned)),
        RunState::Clean { head } => (true, Some(*head), None),
    };
    let run = RunRecord {
        boot_id: boot_id(),
        sync_each_batch,
        clean,
        head,
        unreported_loss,
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

/// Reads the record; `None` if there is none, or it cannot be parsed.
pub(super) fn read(directory: &Path) -> io::Result<Option<RunRecord>> {
    let Some(bytes) = files::read(directory, FILE_NAME)? else { return Ok(None) };
    let Ok(mut run) = serde_json::from_slice::<RunRecord>(&bytes) else { return Ok(None) };
    let created_at = created_at(&fs::metadata(directory.join(FILE_NAME))?);
    run.is_copy = run.created_at.zip(created_at).is_some_and(|(then, now)| then != now);
    Ok(Some(run))
}

/// Makes a copied directory count as the original.
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::expect_used, reason = "a test fails by a panic")]
pub(crate) fn adopt_copy(directory: &Path) {
    if let Some(run) = read(directory).expect("a test can read") {
        put(directory, &run).expect("a test can write");
    }
}

impl RunRecord {
    /// Reason why acknowledged entries may be missing from a log that ends at `head`.
    pub(super) fn fault(&self, head: u64) -> Option<String> {
        if let Some(loss) = &self.unreported_loss {
            return Some(loss.clone());
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
        // Without a boot id, the machine may have restarted.
        let may_be_another_boot = self.boot_id.is_empty() || self.boot_id != boot_id();
        (!self.clean && !self.sync_each_batch && may_be_another_boot)
            .then(|| "the machine went down while events of the last second were not yet on disk".into())
    }
}

/// Boot id of the machine; empty if the kernel has none.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn created_at(file: &Metadata) -> Option<u64> {
    let since = file.created().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}
