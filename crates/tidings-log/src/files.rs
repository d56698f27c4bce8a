//! Small files of a data directory that are replaced as a whole, and disk space that is reserved for them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Replaces a file atomically: after a crash it is the old or the new one. An error leaves the old one and no other file.
pub fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    replace_with(directory, name, &|_| Ok(bytes.to_vec()))
}

/// Like [`replace`], with bytes that may depend on the metadata of the new file.
pub(crate) fn replace_with(
    directory: &Path,
    name: &str,
    bytes: &dyn Fn(&File) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    let beside = directory.join(format!("{name}.new"));
    let outcome = write_new(&beside, bytes).and_then(|()| fs::rename(&beside, directory.join(name)));
    if outcome.is_err() {
        // The partial file may fill the disk.
        let _ = fs::remove_file(&beside);
    }
    outcome?;
    sync_directory(directory)
}

fn write_new(path: &Path, bytes: &dyn Fn(&File) -> io::Result<Vec<u8>>) -> io::Result<()> {
    let mut file = File::create(path)?;
    let bytes = bytes(&file)?;
    file.write_all(&bytes)?;
    file.sync_data()
}

/// Reads a file; `None` if there is none.
pub fn read(directory: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    match fs::read(directory.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Whether an error says that the disk, a quota or a file has no room left.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Bytes that a process without privileges may still write to the disk of a directory, if its file system says so.
pub(crate) fn free_bytes(directory: &Path) -> Option<u64> {
    let disk = statvfs(directory).ok().filter(|disk| disk.f_blocks > 0)?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A file that reserves disk space. It is removed on a full disk, so that small files can be written to free space.
#[derive(Debug)]
pub struct Reserve {
    directory: PathBuf,
    is_held: AtomicBool,
}

impl Reserve {
    /// Minimum size of a reserve.
    pub const BYTES_MIN: u64 = 1 << 20;
    const FILE_NAME: &str = "reserve";

    /// The reserve of a directory.
    pub fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), is_held: AtomicBool::new(false) }
    }

    /// Calls `act`, and once more without the reserve if the disk was full.
    ///
    /// # Errors
    /// Errors of the last attempt.
    pub fn with_room<T>(&self, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match act() {
            Err(error) if is_full(&error) && self.give_up() => act(),
            other => other,
        }
    }

    /// Removes the reserve. Returns whether there was one.
    pub(crate) fn give_up(&self) -> bool {
        self.is_held.store(false, Ordering::Release);
        fs::remove_file(self.directory.join(Self::FILE_NAME)).is_ok()
    }

    /// Whether the last fill succeeded and the reserve was not removed since.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    /// Fills the reserve up to `bytes`. A file system without preallocation has no reserve.
    ///
    /// # Errors
    /// If the disk is full; the reserve is then empty.
    pub fn fill(&self, bytes: u64) -> io::Result<()> {
        let path = self.directory.join(Self::FILE_NAME);
        let is_there = fs::metadata(&path).is_ok_and(|reserve| reserve.len() >= bytes);
        let outcome = if is_there { Ok(()) } else { self.allocate(Self::FILE_NAME, bytes) };
        let is_full = outcome.as_ref().is_err_and(is_full);
        self.is_held.store(!is_full, Ordering::Release);
        if is_full { outcome } else { Ok(()) }
    }

    /// Tests whether a file of `bytes` bytes fits beside the reserve.
    ///
    /// # Errors
    /// Errors of the file system.
    pub(crate) fn try_room(&self, bytes: u64) -> io::Result<()> {
        const FILE_NAME: &str = "room";
        self.allocate(FILE_NAME, bytes)?;
        fs::remove_file(self.directory.join(FILE_NAME))
    }

    fn allocate(&self, name: &str, bytes: u64) -> io::Result<()> {
        let path = self.directory.join(name);
        let outcome = File::create(&path).and_then(|file| allocate(file, bytes));
        if outcome.is_err() {
            let _ = fs::remove_file(&path);
        }
        outcome
    }
}

fn allocate(mut file: File, bytes: u64) -> io::Result<()> {
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        // Some file systems cannot preallocate.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            let block = [0xA5; 4096];
            (0..bytes.div_ceil(block.len() as u64)).try_for_each(|_| file.write_all(&block))
        }
        other => other.map_err(io::Error::from),
    }
}
