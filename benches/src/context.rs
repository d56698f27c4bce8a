//! Arguments, programs and data directory of a run.

use std::{cell::Cell, io, path::PathBuf, time::Duration};

use crate::{arguments::BenchArguments, result::BenchResult, server_kind::ServerKind};

/// Path of a program of this workspace.
pub(crate) fn beside(name: &str) -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}

/// Context of all benchmarks.
#[derive(Debug)]
pub(crate) struct BenchContext {
    pub(crate) arguments: BenchArguments,
    pub(crate) hub: PathBuf,
    /// Directory of the servers' data.
    pub(crate) directory: PathBuf,
    /// Directories given so far.
    directories: Cell<usize>,
}

impl BenchContext {
    /// Finds the programs: the given ones, and those beside this one.
    ///
    /// # Errors
    /// A program is missing.
    pub(crate) fn new(arguments: BenchArguments) -> BenchResult<Self> {
        let temporary = || std::env::temp_dir().join(format!("tidings-benches-{}", std::process::id()));
        let context = Self {
            hub: arguments.server.clone().map_or_else(|| beside("tidings"), Ok)?,
            directory: arguments.directory.clone().unwrap_or_else(temporary),
            directories: Cell::new(0),
            arguments,
        };
        let others = ["axum_baseline", "epoll_baseline", "pushpin_origin"].map(beside);
        let others = others.into_iter().collect::<io::Result<Vec<_>>>()?;
        let programs = others.iter().chain([&context.hub]).chain(&context.arguments.before);
        let missing = programs.into_iter().find(|program| !program.exists());
        if let Some(program) = missing {
            let hint = "run `cargo build --release -p tidings-server -p benches`";
            return Err(format!("program not found: {}; {hint}", program.display()).into());
        }
        Ok(context)
    }

    /// Time of one turn.
    pub(crate) fn slice(&self) -> Duration {
        Duration::from_secs_f64(self.arguments.slice)
    }

    /// Whether this server is to be measured.
    pub(crate) fn is_chosen(&self, kind: ServerKind) -> bool {
        let is_given = kind != ServerKind::Before || self.arguments.before.is_some();
        is_given && (self.arguments.servers.is_empty() || self.arguments.servers.contains(&kind))
    }

    /// A new directory of data.
    pub(crate) fn next_directory(&self) -> PathBuf {
        self.directories.set(self.directories.get() + 1);
        self.directory.join(format!("turn-{}", self.directories.get()))
    }
}
