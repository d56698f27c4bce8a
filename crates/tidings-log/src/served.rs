//! Record of the logs that served from a data directory, in `logs.json`.
//!
//! A log is *behind* if another one took events since it served last. It then reports a gap.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidings_protocol::Epoch;
use tracing::warn;

use crate::files::{self, Reserve};

const FILE_NAME: &str = "logs.json";

/// Broker logs on record; the one that served longest ago is dropped first.
const BROKER_LOGS_MAX: usize = 16;

/// The record of one directory; a hub without a directory has none.
#[derive(Debug, Default)]
pub(crate) struct ServedLogs {
    directory: Option<PathBuf>,
    record: ServedRecord,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServedRecord {
    disk_is_behind: bool,
    /// By time of service, latest last.
    #[serde(default)]
    brokers: Vec<BrokerLog>,
}

/// The log of a broker, identified by its newest epoch when it served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BrokerLog {
    epoch: u64,
    is_behind: bool,
}

impl ServedRecord {
    /// Returns the record with all broker logs behind.
    fn without_brokers(&self, disk_is_behind: bool) -> Self {
        let behind = |log: &BrokerLog| BrokerLog { is_behind: true, ..*log };
        Self { disk_is_behind, brokers: self.brokers.iter().map(behind).collect() }
    }
}

impl ServedLogs {
    /// Reads the record of a directory.
    ///
    /// # Errors
    /// Errors of the file system. If a record cannot be parsed, the log on disk counts as behind.
    pub(crate) fn read(directory: &Path) -> io::Result<Self> {
        let record = match files::read(directory, FILE_NAME)? {
            None => ServedRecord::default(),
            Some(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                warn!(%error, "logs.json cannot be read; the log counts as behind another one");
                ServedRecord { disk_is_behind: true, ..ServedRecord::default() }
            }),
        };
        Ok(Self { directory: Some(directory.to_owned()), record })
    }

    /// Whether another log took events since the one on disk served last.
    pub(crate) fn disk_is_behind(&self) -> bool {
        self.record.disk_is_behind
    }

    /// Records that the log on disk serves. Its newest epoch must list the losses before this call.
    ///
    /// # Errors
    /// Errors of the file system; the record is then unchanged.
    pub(crate) fn serve_disk(&mut self) -> io::Result<()> {
        self.put(self.record.without_brokers(false))
    }

    /// Records that a log in memory serves. No event may be taken before this.
    ///
    /// # Errors
    /// Errors of the file system; the record is then unchanged.
    pub(crate) fn serve_memory(&mut self) -> io::Result<()> {
        self.put(self.record.without_brokers(true))
    }

    /// Records that the log of a broker is about to serve. No event may be taken before this.
    ///
    /// # Errors
    /// Errors of the file system; the record is then unchanged.
    pub(crate) fn await_broker(&mut self) -> io::Result<()> {
        self.put(ServedRecord { disk_is_behind: true, ..self.record.clone() })
    }

    /// Whether another log took events since the broker's log with these epochs served here last.
    pub(crate) fn broker_is_behind(&self, epochs: &[Epoch]) -> bool {
        self.record.brokers.iter().any(|log| log.is_behind && epochs.contains(&Epoch(log.epoch)))
    }

    /// Records that the broker's log with these epochs, oldest first, serves. They must list the losses before this call.
    ///
    /// # Errors
    /// Errors of the file system; the record is then unchanged.
    pub(crate) fn serve_broker(&mut self, epochs: &[Epoch]) -> io::Result<()> {
        let Some(newest) = epochs.last() else { return Ok(()) };
        let mut record = self.record.without_brokers(true);
        record.brokers.retain(|log| !epochs.contains(&Epoch(log.epoch)));
        record.brokers.push(BrokerLog { epoch: newest.0, is_behind: false });
        let surplus = record.brokers.len().saturating_sub(BROKER_LOGS_MAX);
        record.brokers.drain(..surplus);
        self.put(record)
    }

    fn put(&mut self, record: ServedRecord) -> io::Result<()> {
        let Some(directory) = self.directory.as_ref().filter(|_| self.record != record) else {
            return Ok(());
        };
        let json = serde_json::to_vec(&record).map_err(io::Error::other)?;
        Reserve::of(directory).with_room(|| files::replace(directory, FILE_NAME, &json))?;
        self.record = record;
        Ok(())
    }
}
