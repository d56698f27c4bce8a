//! The run of a phase: clients, faults, and the comparison at the end.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};

use crate::client_context::{ClientContext, ClientSettings};
use crate::clients::{Clients, ClosedClients};
use crate::counters::{Count, Counters};
use crate::history::History;
use crate::http;
use crate::hub_server::HubServer;
use crate::node_history;
use crate::oracle::{ComparisonResult, LogRecord, LossRule, Oracle};
use crate::violation::{Violation, ViolationKind};

/// Longest time in which a server may count streams of readers that have gone.
const LEFT_OVER_DEADLINE: Duration = Duration::from_secs(10);

/// The servers of a phase and their faults.
pub(crate) trait Cluster {
    fn servers(&mut self) -> &mut [HubServer];

    /// Injects every fault; returns after the time of the phase.
    async fn inject_faults(&mut self, run: &PhaseRun) -> Result<(), String>;

    /// Reads the log at the end, with its violations.
    async fn read_log(&mut self, run: &PhaseRun) -> Result<(Vec<LogRecord>, Vec<Violation>), String> {
        Ok(node_history::read_log(self.servers()[0].address, &run.history).await)
    }
}

/// Settings and records of one run.
pub(crate) struct PhaseRun {
    pub(crate) name: &'static str,
    pub(crate) time: Duration,
    pub(crate) rule: LossRule,
    pub(crate) clients: ClientSettings,
    pub(crate) history: Arc<History>,
    pub(crate) counters: Arc<Counters>,
}

impl PhaseRun {
    /// Runs the clients while faults are injected, and compares all observations with the log.
    pub(crate) async fn drive(&self, cluster: &mut impl Cluster) -> ComparisonResult {
        let mut clients = Clients::start(ClientContext {
            settings: self.clients.clone(),
            nodes: cluster.servers().iter().map(HubServer::endpoint).collect(),
            history: Arc::clone(&self.history),
            counters: Arc::clone(&self.counters),
        });
        let mut result = tokio::select! {
            outcome = self.drive_clients(&mut clients, cluster) => outcome.unwrap_or_else(|text| {
                ComparisonResult { violations: vec![Violation::process_fault(text)], ..ComparisonResult::default() }
            }),
            () = self.show_progress(), if std::io::stderr().is_terminal() => unreachable!("it never ends"),
        };
        clients.shut_down().await;
        for server in cluster.servers() {
            result.violations.extend(server.panic().map(Violation::process_fault));
        }
        result
    }

    async fn drive_clients(
        &self,
        clients: &mut Clients,
        cluster: &mut impl Cluster,
    ) -> Result<ComparisonResult, String> {
        cluster.inject_faults(self).await?;
        self.history.note("no more faults");
        for server in cluster.servers() {
            server.until_ready().await?;
        }
        let ClosedClients { readers, closing, mut violations } = clients.finish().await;
        for server in cluster.servers() {
            violations.extend(find_left_over(server.address).await);
        }
        let (log, found) = cluster.read_log(self).await?;
        violations.extend(found);
        for server in cluster.servers() {
            let ended = server.unasked_end().or(server.terminate().await.err());
            violations.extend(ended.map(Violation::process_fault));
        }
        let mut result = Oracle::new(&self.history, log, readers, closing, self.rule).compare();
        result.violations.extend(violations);
        result.notes.iter().for_each(|note| self.history.note(note.as_str()));
        Ok(result)
    }

    /// Ends a running server: kills it with this probability, or terminates it.
    pub(crate) async fn end_server(
        &self,
        server: &mut HubServer,
        rng: &mut StdRng,
        kill_share: f64,
    ) -> Result<(), String> {
        if let Some(end) = server.unasked_end() {
            return Err(end);
        }
        if rng.random_bool(kill_share) {
            self.counters.add(Count::Kills, 1);
            self.history.note("killed");
            server.kill();
            Ok(())
        } else {
            self.counters.add(Count::GracefulRestarts, 1);
            self.history.note("terminated");
            server.terminate().await
        }
    }

    /// Writes the schedule of faults if there are violations.
    pub(crate) fn write_schedule(&self, violations: &[Violation], directory: &Path) {
        if !violations.is_empty() {
            eprintln!("schedule of faults: {}", self.history.write_schedule(directory).display());
        }
    }

    async fn show_progress(&self) {
        let (begun, counters) = (Instant::now(), &self.counters);
        loop {
            let (published, deliveries) = (counters.get(Count::Published), counters.get(Count::Deliveries));
            let (resumes, restarts) = (counters.get(Count::Resumes), counters.restarts());
            let (name, seconds, all) = (self.name, begun.elapsed().as_secs(), self.time.as_secs());
            eprint!(
                "\r\x1b[K{name} {seconds}/{all} s: {published} published, {deliveries} deliveries, {resumes} resumes, \
                 {restarts} restarts"
            );
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Waits until the server counts no stream; all readers have gone.
async fn find_left_over(address: SocketAddr) -> Option<Violation> {
    let deadline = Instant::now() + LEFT_OVER_DEADLINE;
    loop {
        let metrics = match http::get_ok(address, "/metrics").await {
            Ok(body) => String::from_utf8_lossy(&body).into_owned(),
            Err(text) => return Some(Violation::new(ViolationKind::BrokenProtocol, text)),
        };
        let streams = metrics.lines().find_map(|line| line.strip_prefix("tidings_streams_open "));
        if streams == Some("0") {
            return None;
        }
        if Instant::now() >= deadline {
            let seconds = LEFT_OVER_DEADLINE.as_secs();
            let text = format!("{streams:?} streams are counted {seconds} s after the last reader left");
            return Some(Violation::new(ViolationKind::LeftOver, text));
        }
        sleep(Duration::from_millis(20)).await;
    }
}
