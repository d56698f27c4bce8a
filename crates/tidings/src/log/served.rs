//! Which logs a data directory has served from, so that a log that was not the one in use tells what it has missed.
//!
//! `logs.json` names them. A log is *behind* if another one took events since it served last.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::files;

const FILE_NAME: &str = "logs.json";

/// The record of one directory; a hub without a directory keeps none.
#[derive(Debug, Default)]
pub(crate) struct ServedLogs {
    directory: Option<PathBuf>,
    record: Record,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    disk_is_behind: bool,
}

impl ServedLogs {
    /// Reads the record of a directory.
    ///
    /// # Errors
    /// Those of the file system. A record that cannot be parsed counts the log on disk as behind.
    pub(crate) fn read(directory: &Path) -> io::Result<Self> {
        let record = match files::read(directory, FILE_NAME)? {
            None => Record::default(),
            Some(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                warn!(%error, "logs.json cannot be read; the log counts as behind another one");
                Record { disk_is_behind: true }
            }),
        };
        Ok(Self { directory: Some(directory.to_owned()), record })
    }

    /// Whether another log took events since the one on disk served last.
    pub(crate) fn disk_is_behind(&self) -> bool {
        self.record.disk_is_behind
    }

    /// Records that the log on disk serves. Its epoch must tell before this what it has missed.
    ///
    /// # Errors
    /// Those of the file system; the record is then as before.
    pub(crate) fn serve_disk(&mut self) -> io::Result<()> {
        self.put(Record { disk_is_behind: false })
    }

    /// Records that a log in memory, or one of a broker, serves. No event may be taken before this.
    ///
    /// # Errors
    /// Those of the file system; the record is then as before.
    pub(crate) fn serve_other(&mut self) -> io::Result<()> {
        self.put(Record { disk_is_behind: true })
    }

    fn put(&mut self, record: Record) -> io::Result<()> {
        let Some(directory) = self.directory.as_ref().filter(|_| self.record != record) else {
            return Ok(());
        };
        let json = serde_json::to_vec(&record).map_err(io::Error::other)?;
        files::replace(directory, FILE_NAME, &json)?;
        self.record = record;
        Ok(())
    }
}
