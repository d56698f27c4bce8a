//! `watermark`: the end of the written log, so that a start detects a missing or truncated file.
//!
//! ```text
//! first offset of the newest segment u64 | last acknowledged offset u64 | number of the checkpoint u64 | CRC-32 of these u32
//! ```
//! The newest segment is recorded durably before its first entry, and the offset with every fsync. A value is recorded only
//! when it is true on disk, so a record that lags after a crash is no fault.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::files;

const FILE_NAME: &str = "watermark";
const BYTES: usize = 28;

/// Recorded values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// The first offset of the newest segment.
    pub(super) segment: u64,
    /// The last acknowledged offset, or one before it.
    pub(super) head: u64,
    pub(super) checkpoint: u64,
}

/// The file and its content.
#[derive(Debug)]
pub(super) struct Watermark {
    file: Option<File>,
    marks: Marks,
}

impl Watermark {
    /// Values that are not on disk yet.
    pub(super) fn new(marks: Marks) -> Self {
        Self { file: None, marks }
    }

    /// Opens the file and writes the values durably.
    pub(super) fn begin(&mut self, directory: &Path, marks: Marks) -> io::Result<()> {
        let file =
            OpenOptions::new().create(true).write(true).truncate(false).open(directory.join(FILE_NAME))?;
        self.marks = marks;
        put(&file, &self.marks)?;
        file.sync_data()?;
        self.file = Some(file);
        files::sync_directory(directory)
    }

    /// Records a new newest segment, durably.
    pub(super) fn put_segment(&mut self, first: u64) -> io::Result<()> {
        self.change(|marks| (marks.segment, marks.head) = (first, first.saturating_sub(1)))?;
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Records the last acknowledged offset.
    pub(super) fn put_head(&mut self, head: u64) -> io::Result<()> {
        self.change(|marks| marks.head = head)
    }

    /// Records the number of the current checkpoint.
    pub(super) fn put_checkpoint(&mut self, checkpoint: u64) -> io::Result<()> {
        self.change(|marks| marks.checkpoint = checkpoint)
    }

    fn change(&mut self, change: impl FnOnce(&mut Marks)) -> io::Result<()> {
        let before = self.marks;
        change(&mut self.marks);
        match &self.file {
            // After an error the next call writes the value again.
            Some(file) if self.marks != before => put(file, &self.marks).inspect_err(|_| self.marks = before),
            _ => Ok(()),
        }
    }

    /// The number of the current checkpoint.
    pub(super) fn checkpoint(&self) -> u64 {
        self.marks.checkpoint
    }
}

fn put(file: &File, marks: &Marks) -> io::Result<()> {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&marks.segment.to_le_bytes());
    bytes[8..16].copy_from_slice(&marks.head.to_le_bytes());
    bytes[16..24].copy_from_slice(&marks.checkpoint.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..24]);
    bytes[24..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&bytes, 0)
}

/// Reads the values; `None` if there is no file, or its checksum is wrong.
pub(super) fn read(directory: &Path) -> io::Result<Option<Marks>> {
    let Some(bytes) = files::read(directory, FILE_NAME)? else { return Ok(None) };
    let Ok(bytes) = <[u8; BYTES]>::try_from(&*bytes) else { return Ok(None) };
    let u64_at =
        |at: usize| bytes[at..at + 8].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let is_whole = crc32fast::hash(&bytes[..24]).to_le_bytes() == bytes[24..];
    let marks = Marks { segment: u64_at(0), head: u64_at(8), checkpoint: u64_at(16) };
    Ok(is_whole.then_some(marks))
}
