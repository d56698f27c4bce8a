//! A small disk of one node, which can be filled.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Size of the disk, in the notation of `mount`: larger than the events of a round, and small in memory.
const SIZE: &str = "48m";
/// File that takes all free space.
const FILLER: &str = "filler";

/// A tmpfs in a mount namespace of its own, which ends with the checker at the latest.
pub(crate) struct Disk {
    path: PathBuf,
    /// Process that holds the namespace until its standard input ends.
    holder: Child,
}

impl Disk {
    /// Mounts a tmpfs in this directory; `None` if the kernel or the user's rights do not allow it.
    pub(crate) fn mount(directory: &Path) -> Result<Option<Self>, String> {
        let is_allowed = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
        if !is_allowed.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let path = directory.join("disk");
        let describe = |error: io::Error| format!("{}: {error}", path.display());
        std::fs::create_dir_all(&path).map_err(describe)?;
        let mount = format!("mount -t tmpfs -o size={SIZE} tmpfs \"$0\" && echo mounted && exec cat");
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &mount]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().map_err(describe)?;
        let mut line = String::new();
        if let Some(output) = holder.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(describe)?;
        }
        if line != "mounted\n" {
            return Err(format!("no tmpfs of {SIZE} could be mounted at {}", path.display()));
        }
        Ok(Some(Self { path, holder }))
    }

    /// Returns a command that runs a program within the namespace, with the disk at [`Self::path`].
    pub(crate) fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-t", &self.holder.id().to_string(), "--"]);
        command
    }

    /// Path of the disk within the namespace.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the disk outside the namespace.
    pub(crate) fn outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.path.strip_prefix("/").unwrap_or(&self.path))
    }

    /// Takes all free space, also space that becomes free meanwhile.
    pub(crate) fn fill(&self) -> Result<(), String> {
        let filled = || {
            let mut file = OpenOptions::new().create(true).append(true).open(self.outside().join(FILLER))?;
            for bytes in [64 << 10, 4 << 10] {
                write_until_full(&mut file, &vec![0; bytes])?;
            }
            io::Result::Ok(())
        };
        filled().map_err(|error| format!("{} cannot be filled: {error}", self.path.display()))
    }

    /// Frees the space.
    pub(crate) fn free(&self) -> Result<(), String> {
        std::fs::remove_file(self.outside().join(FILLER))
            .map_err(|error| format!("space of {} cannot be freed: {error}", self.path.display()))
    }

    /// Ends the namespace; no process may be in it.
    pub(crate) fn unmount(mut self) -> Result<(), String> {
        // Waiting closes the standard input of the holder.
        let ended = self.holder.wait();
        ended.map(drop).map_err(|error| format!("{} cannot be unmounted: {error}", self.path.display()))
    }
}

fn write_until_full(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    loop {
        match file.write_all(bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Copies a directory to another path.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    if !copied.is_ok_and(|status| status.success()) {
        eprintln!("{} cannot be copied to {}", from.display(), to.display());
    }
}
