//! `revocations.log`: one line for each revocation, its checksum before it. Written again as a whole at each start, and
//! when most of it is over.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::Revocation;
use crate::files::{self, Reserve, is_full};

pub(super) const FILE_NAME: &str = "revocations.log";
/// Lines that may be added before those that are over are looked for, beside twice as many as were in force.
const ADDED_MAX: usize = 10_000;

/// The file, open for appending.
pub(super) struct Journal {
    directory: PathBuf,
    file: File,
    lines: usize,
    /// At so many lines it is written again.
    lines_max: usize,
    /// Bytes that are known to be good; what a failed append left behind them is cut off by the next.
    bytes: u64,
}

impl Journal {
    /// Reads what is in force and begins the file anew with it; on a full disk it goes on with the file as it is.
    ///
    /// # Errors
    /// When a line other than the last is damaged: the last may have been cut by a kill before it was answered.
    pub(super) fn open(directory: &Path, now: f64) -> io::Result<(Self, Vec<Revocation>)> {
        fs::create_dir_all(directory)?;
        let Read { kept, lines, bytes } = read(directory, now)?;
        let journal = match Self::write(directory, &kept) {
            Err(error) if is_full(&error) => Self::at_end(directory, lines, bytes)?,
            other => other?,
        };
        Ok((journal, kept))
    }

    /// Adds a line for each and waits until they are safe. On a full disk it takes the room of the reserve.
    pub(super) fn append(&mut self, revocations: &[Revocation], now: f64) -> io::Result<()> {
        if self.lines >= self.lines_max {
            match read(&self.directory, now).and_then(|read| Self::write(&self.directory, &read.kept)) {
                Err(error) if is_full(&error) => {}
                other => *self = other?,
            }
        }
        let lines: Vec<u8> = revocations.iter().flat_map(line_of).collect();
        Reserve::of(&self.directory).with_room(|| self.put(&lines))?;
        self.bytes += lines.len() as u64;
        self.lines += revocations.len();
        Ok(())
    }

    fn put(&self, lines: &[u8]) -> io::Result<()> {
        self.file.set_len(self.bytes)?;
        (&self.file).write_all(lines)?;
        self.file.sync_data()
    }

    /// Puts a whole file in the place of the old one.
    fn write(directory: &Path, kept: &[Revocation]) -> io::Result<Self> {
        let text: Vec<u8> = kept.iter().flat_map(line_of).collect();
        files::replace(directory, FILE_NAME, &text)?;
        Self::at_end(directory, kept.len(), text.len() as u64)
    }

    /// Goes on behind so many bytes of the file.
    fn at_end(directory: &Path, lines: usize, bytes: u64) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(directory.join(FILE_NAME))?;
        let lines_max = 2 * lines + ADDED_MAX;
        Ok(Self { directory: directory.to_owned(), file, lines, lines_max, bytes })
    }
}

fn line_of(revocation: &Revocation) -> Vec<u8> {
    let json = serde_json::to_string(revocation).expect("a revocation is plain data");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes()
}

/// What stands in the file.
struct Read {
    /// What is in force.
    kept: Vec<Revocation>,
    lines: usize,
    /// Of whole lines.
    bytes: u64,
}

fn read(directory: &Path, now: f64) -> io::Result<Read> {
    let text = files::read(directory, FILE_NAME)?.unwrap_or_default();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let mut read = Read { kept: Vec::with_capacity(lines.len()), lines: 0, bytes: 0 };
    for (index, line) in lines.iter().enumerate() {
        match parse(line) {
            Some(revocation) => read.kept.push(revocation),
            // Only what was not answered can be cut.
            None if index + 1 == lines.len() && !line.ends_with(b"\n") => break,
            None => {
                let line = index + 1;
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "line {line} is damaged; whom it revoked is not known: take the line out and revoke again"
                    ),
                ));
            }
        }
        read.lines += 1;
        read.bytes += line.len() as u64;
    }
    read.kept.retain(|revocation| revocation.until > now);
    Ok(read)
}

fn parse(line: &[u8]) -> Option<Revocation> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, json) = line.split_once(' ')?;
    let is_whole = u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(json.as_bytes());
    is_whole.then(|| serde_json::from_str(json).ok()).flatten()
}
