//! Arguments, programs and data directory of a run.

use std::{cell::Cell, path::PathBuf, time::Duration};

use crate::{
    BenchResult,
    arguments::BenchArguments,
    comparison::{Case, Comparison, Sample},
    server::{BenchServer, ServerKind},
};

/// Context of all benchmarks.
#[derive(Debug)]
pub(crate) struct BenchContext {
    pub(crate) arguments: BenchArguments,
    /// The hub, and another build of it to compare with.
    pub(crate) hub: PathBuf,
    pub(crate) hub_before: Option<PathBuf>,
    pub(crate) axum_baseline: PathBuf,
    pub(crate) epoll_baseline: PathBuf,
    /// Backend of Pushpin.
    pub(crate) pushpin_origin: PathBuf,
    /// Directory of the servers' data.
    pub(crate) directory: PathBuf,
    servers_started: Cell<usize>,
}

impl BenchContext {
    /// Finds the programs: the given ones, and those beside this one.
    ///
    /// # Errors
    /// A program is missing.
    pub(crate) fn new(arguments: BenchArguments) -> BenchResult<Self> {
        let this = std::env::current_exe()?;
        let beside = |name: &str| this.with_file_name(name);
        let temporary = || std::env::temp_dir().join(format!("tidings-benches-{}", std::process::id()));
        let context = Self {
            hub: arguments.server.clone().unwrap_or_else(|| beside("tidings")),
            hub_before: arguments.before.clone(),
            axum_baseline: beside("axum_baseline"),
            epoll_baseline: beside("epoll_baseline"),
            pushpin_origin: beside("pushpin_origin"),
            directory: arguments.directory.clone().unwrap_or_else(temporary),
            servers_started: Cell::new(0),
            arguments,
        };
        let Self { hub, hub_before, axum_baseline, epoll_baseline, pushpin_origin, .. } = &context;
        let programs = [hub, axum_baseline, epoll_baseline, pushpin_origin];
        if let Some(program) = programs.into_iter().chain(hub_before).find(|program| !program.exists()) {
            let hint = "run `cargo build --release -p tidings-server -p benches`";
            return Err(format!("program not found: {}; {hint}", program.display()).into());
        }
        Ok(context)
    }

    /// Time of one turn.
    pub(crate) fn slice(&self) -> Duration {
        Duration::from_secs_f64(self.arguments.slice)
    }

    /// Those of the servers that are to be measured.
    pub(crate) fn is_chosen(&self, kind: ServerKind) -> bool {
        let is_given = kind != ServerKind::Before || self.hub_before.is_some();
        is_given && (self.arguments.servers.is_empty() || self.arguments.servers.contains(&kind))
    }

    /// Measures the chosen servers in turn.
    pub(crate) fn compare(
        &self,
        rounds: usize,
        servers: &[ServerKind],
        turn: impl FnMut(&ServerKind) -> BenchResult<Sample>,
    ) -> BenchResult<Comparison> {
        let chosen = servers.iter().filter(|server| self.is_chosen(**server));
        let cases = chosen.map(|server| Case {
            names: vec![server.name().to_owned()],
            server: *server,
            setup: *server,
        });
        Comparison::measure(rounds, cases, turn)
    }

    /// Starts a server whose data is removed with it. `settings` are environment variables.
    pub(crate) fn start(&self, kind: ServerKind, settings: &[(&str, &str)]) -> BenchResult<BenchServer> {
        let number = self.servers_started.get();
        self.servers_started.set(number + 1);
        let mut server = BenchServer::start(self, kind, &format!("turn-{number}"), settings)?;
        server.is_temporary = true;
        Ok(server)
    }
}
