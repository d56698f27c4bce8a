//! `revocations.log`: one line for each revocation, its checksum before it. Written again as a whole at each start, and
//! when most of it is over.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::Revocation;

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
    /// Reads what is in force and begins the file anew with it.
    ///
    /// # Errors
    /// When a line other than the last is damaged: the last may have been cut by a kill before it was answered.
    pub(super) fn open(directory: &Path, now: f64) -> io::Result<(Self, Vec<Revocation>)> {
        fs::create_dir_all(directory)?;
        let kept = read(directory, now)?;
        let journal = Self::write(directory, &kept)?;
        Ok((journal, kept))
    }

    /// Adds a line for each and waits until they are safe.
    pub(super) fn append(&mut self, revocations: &[Revocation], now: f64) -> io::Result<()> {
        if self.lines >= self.lines_max {
            *self = Self::write(&self.directory, &read(&self.directory, now)?)?;
        }
        let lines: Vec<u8> = revocations.iter().flat_map(line_of).collect();
        self.file.set_len(self.bytes)?;
        self.file.write_all(&lines)?;
        self.file.sync_data()?;
        self.bytes += lines.len() as u64;
        self.lines += revocations.len();
        Ok(())
    }

    /// Writes the file beside the old one and puts it in its place in one step.
    fn write(directory: &Path, kept: &[Revocation]) -> io::Result<Self> {
        let beside = directory.join("revocations.new");
        let text: Vec<u8> = kept.iter().flat_map(line_of).collect();
        let mut file = File::options().create(true).write(true).truncate(true).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, directory.join(FILE_NAME))?;
        File::open(directory)?.sync_all()?;
        let file = File::options().append(true).open(directory.join(FILE_NAME))?;
        Ok(Self {
            directory: directory.to_owned(),
            file,
            lines: kept.len(),
            lines_max: 2 * kept.len() + ADDED_MAX,
            bytes: text.len() as u64,
        })
    }
}

fn line_of(revocation: &Revocation) -> Vec<u8> {
    let json = serde_json::to_string(revocation).expect("a revocation is plain data");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes()
}

fn read(directory: &Path, now: f64) -> io::Result<Vec<Revocation>> {
    let text = match fs::read(directory.join(FILE_NAME)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let mut kept = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        match parse(line) {
            Some(revocation) => kept.push(revocation),
            // Only what was not answered can be cut.
            None if index + 1 == lines.len() && !line.ends_with(b"\n") => {}
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
    }
    kept.retain(|revocation| revocation.until > now);
    Ok(kept)
}

fn parse(line: &[u8]) -> Option<Revocation> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, json) = line.split_once(' ')?;
    let is_whole = u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(json.as_bytes());
    is_whole.then(|| serde_json::from_str(json).ok()).flatten()
}
