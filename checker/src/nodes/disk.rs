//! A small disk of a node's own, which can be made full.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Bytes of the disk, as `mount` reads them: more than a round publishes, and little memory.
const SIZE: &str = "48m";
/// The file that takes all room.
const FILLER: &str = "filler";

/// A file system in memory, in a mount namespace of its own. It goes when this is dropped.
pub(crate) struct Disk {
    path: PathBuf,
    /// Holds the namespace until it ends.
    holder: Child,
    holder_id: u32,
}

impl Disk {
    /// Mounts one in this directory; none where the kernel or the user's rights do not allow it.
    ///
    /// # Errors
    /// Why it was not mounted though it may be.
    pub(super) async fn mount(directory: &Path) -> Result<Option<Self>, String> {
        let is_allowed = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status().await;
        if !is_allowed.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let path = directory.join("disk");
        let describe = |error: io::Error| format!("{}: {error}", path.display());
        std::fs::create_dir_all(&path).map_err(describe)?;
        let mount = format!("mount -t tmpfs -o size={SIZE} tmpfs \"$0\" && echo mounted && exec cat");
        let mut holder = Command::new("unshare")
            .args(["-m", "sh", "-c", &mount])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(describe)?;
        let mut said = String::new();
        if let Some(output) = holder.stdout.take() {
            BufReader::new(output).read_line(&mut said).await.map_err(describe)?;
        }
        match holder.id() {
            Some(holder_id) if said == "mounted\n" => Ok(Some(Self { path, holder, holder_id })),
            _ => Err(format!("no tmpfs of {SIZE} could be mounted at {}", path.display())),
        }
    }

    /// The command that a process is started with to have the disk where [`Self::path`] says.
    pub(crate) fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-t", &self.holder_id.to_string(), "--"]);
        command
    }

    /// Where the disk is for those who entered.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is for everyone else.
    pub(super) fn outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder_id));
        root.join(self.path.strip_prefix("/").unwrap_or(&self.path))
    }

    /// Takes all room that is left, and what comes free on the way.
    pub(super) fn fill(&self) -> Result<(), String> {
        let filled = || {
            let mut file = OpenOptions::new().create(true).append(true).open(self.outside().join(FILLER))?;
            for bytes in [64 << 10, 4 << 10] {
                write_until_full(&mut file, &vec![0; bytes])?;
            }
            io::Result::Ok(())
        };
        filled().map_err(|error| format!("{} cannot be filled: {error}", self.path.display()))
    }

    /// Gives the room back.
    pub(super) fn free(&self) -> Result<(), String> {
        std::fs::remove_file(self.outside().join(FILLER))
            .map_err(|error| format!("room cannot be given back at {}: {error}", self.path.display()))
    }

    /// Copies what it holds to where it stays when the disk is gone.
    pub(super) async fn save(&self, to: &Path) {
        let copied = Command::new("cp").arg("-a").arg(self.outside()).arg(to).status().await;
        if !copied.is_ok_and(|status| status.success()) {
            eprintln!("{} cannot be copied to {}", self.path.display(), to.display());
        }
    }

    /// Ends the namespace, once no process is in it.
    pub(super) async fn unmount(mut self) -> Result<(), String> {
        self.holder.kill().await.map_err(|error| format!("{} cannot be let go: {error}", self.path.display()))
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
