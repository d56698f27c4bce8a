//! Small files of a data directory that are replaced as a whole.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Replaces a file: after a crash the old or the new one stands, whole. A failure leaves the old one and nothing beside it.
pub(crate) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let beside = directory.join(format!("{name}.new"));
    let outcome = write_new(&beside, bytes).and_then(|()| fs::rename(&beside, directory.join(name)));
    if outcome.is_err() {
        // A part of a file may be the last of the disk's room.
        let _ = fs::remove_file(&beside);
    }
    outcome?;
    sync_directory(directory)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// Reads a file; `None` if there is none.
pub(crate) fn read(directory: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    match fs::read(directory.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Makes names in a directory survive the machine.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Whether an error says that the disk, a quota or a file has no room left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
