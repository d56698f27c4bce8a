//! `revocations.log`: one line for each revocation, after its checksum. Each start rewrites the file without expired
//! lines, and so does an append when the file has grown.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidings_log::files::{self, Reserve, is_full};

pub(super) const FILE_NAME: &str = "revocations.log";
/// The file is rewritten when it has more lines than twice those in force at its start, plus this number.
const ADDED_MAX: usize = 10_000;

/// Subject of a revocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RevokedSubject {
    /// Every token of a user that was issued before the revocation.
    User(String),
    /// A session.
    Session(String),
    /// One token, by its `jti`.
    #[serde(rename = "jti")]
    Token(String),
}

/// Revocation as the journal stores it. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::auth) struct Revocation {
    #[serde(flatten)]
    pub(in crate::auth) subject: RevokedSubject,
    pub(in crate::auth) at: u64,
    pub(in crate::auth) until: f64,
}

/// Open journal file.
pub(super) struct Journal {
    directory: PathBuf,
    file: File,
    lines: usize,
    /// Number of lines at which the file is rewritten.
    lines_max: usize,
    /// Length of the valid part. An append first truncates the file to it, since a failed append may have left bytes.
    bytes: u64,
}

impl Journal {
    /// Reads the revocations in force and rewrites the file with them; on a full disk it keeps the file.
    ///
    /// # Errors
    /// For a damaged line. Only the last may be incomplete: a kill before the answer leaves it so.
    pub(super) fn open(directory: &Path, now: f64) -> io::Result<(Self, Vec<Revocation>)> {
        fs::create_dir_all(directory)?;
        let JournalContents { kept, lines, bytes } = read(directory, now)?;
        let journal = match Self::rewrite(directory, &kept) {
            Err(error) if is_full(&error) => Self::open_at(directory, lines, bytes)?,
            other => other?,
        };
        Ok((journal, kept))
    }

    /// Appends a line for each revocation and syncs the file. A full disk gives up the reserve.
    pub(super) fn append(&mut self, revocations: &[Revocation], now: f64) -> io::Result<()> {
        if self.lines >= self.lines_max {
            match read(&self.directory, now)
                .and_then(|contents| Self::rewrite(&self.directory, &contents.kept))
            {
                Err(error) if is_full(&error) => {}
                other => *self = other?,
            }
        }
        let lines: Vec<u8> = revocations.iter().flat_map(line_of).collect();
        Reserve::of(&self.directory).with_room(|| self.write_lines(&lines))?;
        self.bytes += lines.len() as u64;
        self.lines += revocations.len();
        Ok(())
    }

    fn write_lines(&self, lines: &[u8]) -> io::Result<()> {
        self.file.set_len(self.bytes)?;
        (&self.file).write_all(lines)?;
        self.file.sync_data()
    }

    /// Replaces the file atomically.
    fn rewrite(directory: &Path, kept: &[Revocation]) -> io::Result<Self> {
        let text: Vec<u8> = kept.iter().flat_map(line_of).collect();
        files::replace(directory, FILE_NAME, &text)?;
        Self::open_at(directory, kept.len(), text.len() as u64)
    }

    /// Opens the file to append after `bytes`.
    fn open_at(directory: &Path, lines: usize, bytes: u64) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(directory.join(FILE_NAME))?;
        let lines_max = 2 * lines + ADDED_MAX;
        Ok(Self { directory: directory.to_owned(), file, lines, lines_max, bytes })
    }
}

fn line_of(revocation: &Revocation) -> Vec<u8> {
    let json = serde_json::to_string(revocation).expect("a revocation is plain data");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes()
}

/// Contents of the file.
struct JournalContents {
    /// Revocations in force.
    kept: Vec<Revocation>,
    lines: usize,
    /// Length of the complete lines.
    bytes: u64,
}

fn read(directory: &Path, now: f64) -> io::Result<JournalContents> {
    let text = files::read(directory, FILE_NAME)?.unwrap_or_default();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let mut contents = JournalContents { kept: Vec::with_capacity(lines.len()), lines: 0, bytes: 0 };
    for (index, line) in lines.iter().enumerate() {
        match parse(line) {
            Some(revocation) => contents.kept.push(revocation),
            // A kill can cut only the last line, which was not acknowledged.
            None if index + 1 == lines.len() && !line.ends_with(b"\n") => break,
            None => {
                let line = index + 1;
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "line {line} is damaged, and its subject is unknown; remove the line and revoke again"
                    ),
                ));
            }
        }
        contents.lines += 1;
        contents.bytes += line.len() as u64;
    }
    contents.kept.retain(|revocation| revocation.until > now);
    Ok(contents)
}

fn parse(line: &[u8]) -> Option<Revocation> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, json) = line.split_once(' ')?;
    let is_whole = u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(json.as_bytes());
    is_whole.then(|| serde_json::from_str(json).ok()).flatten()
}
