//! Programs of the compared servers.

use std::path::PathBuf;

use crate::result::BenchResult;

/// Paths of the programs, and the directory of the servers' data.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) server: PathBuf,
    /// Another build of the hub, to compare with.
    pub(crate) before: Option<PathBuf>,
    pub(crate) axum_baseline: PathBuf,
    pub(crate) epoll_baseline: PathBuf,
    /// Backend of Pushpin.
    pub(crate) pushpin_origin: PathBuf,
    pub(crate) directory: PathBuf,
}

impl Programs {
    /// Finds the programs: the given ones, and those beside this one.
    ///
    /// # Errors
    /// A program is missing.
    pub(crate) fn find(
        server: Option<PathBuf>,
        before: Option<PathBuf>,
        directory: Option<PathBuf>,
    ) -> BenchResult<Self> {
        let beside = |name: &str| std::env::current_exe().map(|this| this.with_file_name(name));
        let temporary = || std::env::temp_dir().join(format!("tidings-benches-{}", std::process::id()));
        let programs = Self {
            server: server.map_or_else(|| beside("tidings"), Ok)?,
            before,
            axum_baseline: beside("axum_baseline")?,
            epoll_baseline: beside("epoll_baseline")?,
            pushpin_origin: beside("pushpin_origin")?,
            directory: directory.unwrap_or_else(temporary),
        };
        let Self { server, before, axum_baseline, epoll_baseline, pushpin_origin, .. } = &programs;
        let ours = [server, axum_baseline, epoll_baseline, pushpin_origin];
        if let Some(program) = ours.into_iter().chain(before).find(|program| !program.exists()) {
            let hint = "run `cargo build --release -p tidings-server -p benches`";
            return Err(format!("program not found: {}; {hint}", program.display()).into());
        }
        Ok(programs)
    }
}
