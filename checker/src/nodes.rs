//! Three nodes over one Redis with a replica: everything that the nodes and Redis are made to suffer, and the count. In
//! `directory` one node without Redis, whose directory suffers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::timeout;

use crate::report::{Fault, FaultKind, Figures, PhaseReport, get};
use crate::server::Server;

mod clients;
mod compare;
mod directory;
mod disk;
mod gate;
mod history;
mod ledger;
mod log;
mod publisher;
mod reader;
mod redis;
mod trouble;

use clients::{Clients, Crowd};
use compare::Truth;
pub(crate) use directory::{DirectoryPhase, Trouble as DirectoryTrouble};
pub(crate) use disk::Disk;
use gate::Gate;
use ledger::Ledger;
use redis::Redis;
pub(crate) use trouble::Extra;
use trouble::{BLIND, Diary, NodeTrouble, Nodes, RedisTrouble, Site};

const NODES: usize = 3;
const PUBLISHERS: u32 = 4;
const READERS: usize = 24;
const CHANNELS: usize = 6;
/// Characters that pad an event, at most.
const PAD_MAX: usize = 160;
/// How long readers may take for the rest once there is no more trouble.
const CLOSING_DEADLINE: Duration = Duration::from_secs(40);
/// Phases shorter than this need not have met every kind of trouble.
const EXERCISED_MIN: Duration = Duration::from_secs(25);

/// What makes one phase.
#[derive(Clone, Debug)]
pub(crate) struct NodesPhase {
    pub(crate) name: &'static str,
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    /// Whether Redis is made to lose events, too.
    pub(crate) loses: bool,
    /// Faults besides those that always come.
    pub(crate) with: Vec<Extra>,
}

impl NodesPhase {
    /// Runs the phase in a directory of its own.
    pub(crate) async fn run(&self, binary: &Path, directory: &Path) -> PhaseReport {
        let figures = Arc::new(Figures::default());
        let names = NodeTrouble::ALL.map(NodeTrouble::as_str);
        names
            .iter()
            .chain(&RedisTrouble::ALL.map(RedisTrouble::as_str))
            .chain([&BLIND])
            .for_each(|name| figures.name_with(name, 0));
        let ledger = Arc::new(Ledger::new(channels()));
        let diary = Arc::new(Diary::new(Arc::clone(&ledger)));
        let mut faults = match self.run_with(binary, directory, &ledger, &figures, &diary).await {
            Ok(faults) => faults,
            Err(text) => vec![Fault::new(FaultKind::Restart, text)],
        };
        faults.extend(self.not_exercised(&figures));
        faults.extend((figures.named(BLIND) > 0).then(|| {
            Fault::new(FaultKind::Stuck, "no node could be read while redis was full, though redis could")
        }));
        let schedule = diary.write(directory);
        if !faults.is_empty() {
            eprintln!("what was done is in {}", schedule.display());
        }
        let figures = Arc::into_inner(figures).expect("every task of the phase has ended");
        PhaseReport { name: self.name, figures, faults }
    }

    async fn run_with(
        &self,
        binary: &Path,
        directory: &Path,
        ledger: &Arc<Ledger>,
        figures: &Arc<Figures>,
        diary: &Arc<Diary>,
    ) -> Result<Vec<Fault>, String> {
        let (mut site, mut nodes) = self.build(binary, directory, ledger, figures, diary).await?;
        let addresses: Vec<_> = nodes.servers.iter().map(Server::address).collect();
        let crowd = Crowd {
            nodes: addresses,
            publishers: PUBLISHERS,
            readers: READERS,
            pad_max: PAD_MAX,
            seed: self.seed,
        };
        let mut clients = Clients::start(crowd, ledger, figures);
        let found = self.drive(&mut clients, &mut site, &mut nodes, (ledger, figures, diary)).await;
        // However that ended, no client goes on.
        clients.shut_down().await;
        found
    }

    /// Makes trouble, and then compares what everybody saw with what is there.
    async fn drive(
        &self,
        clients: &mut Clients,
        site: &mut Site,
        nodes: &mut Nodes,
        (ledger, figures, diary): (&Arc<Ledger>, &Arc<Figures>, &Arc<Diary>),
    ) -> Result<Vec<Fault>, String> {
        let until = ledger.now() + self.time;
        // Who knows of a loss has to live on to tell it: of every two seeds one lets them.
        let pause_max = if self.loses && self.seed.is_multiple_of(2) { 8000 } else { 2000 };
        let (of_nodes, of_redis) = tokio::join!(
            nodes.trouble(self.rng(1), until, pause_max, &self.with),
            site.trouble(self.rng(2), until, self.loses)
        );
        of_nodes.and(of_redis)?;
        diary.note("no more trouble");
        for server in &mut nodes.servers {
            server.until_ready().await?;
        }
        diary.note("all nodes are ready");
        let (records, mut faults) = clients.finish(diary).await;
        let log = log::read(&site.primary).await?;
        let (losses, absences) = (ledger.losses(), ledger.absences());
        for (node, server) in nodes.servers.iter_mut().enumerate() {
            let compared = history::compare(server.address(), node, &ledger.channels, &log, &losses);
            let read = timeout(CLOSING_DEADLINE, compared);
            faults.extend(read.await.map_err(|_| format!("history of node {node} was not read in time"))?);
            let ended = server.unasked_end().or(server.terminate().await.err()).or(server.panic());
            faults.extend(ended.map(|text| Fault::new(FaultKind::Restart, format!("node {node}: {text}"))));
        }
        let (channels, sent) = (ledger.channels.clone(), ledger.sent());
        let truth = Truth { channels, sent, losses, absences, log, records, is_alone: false };
        let findings = truth.compare();
        figures.name_with("events lost by redis", findings.lost);
        figures.name_with("losses to be told", findings.due);
        figures.name_with("gaps told again", findings.again);
        figures.name_with("gaps told late", findings.late);
        findings.notes.iter().for_each(|note| diary.note(note.as_str()));
        faults.extend(findings.faults);
        Ok(faults)
    }

    /// Starts two Redis and the nodes.
    async fn build(
        &self,
        binary: &Path,
        directory: &Path,
        ledger: &Arc<Ledger>,
        figures: &Arc<Figures>,
        diary: &Arc<Diary>,
    ) -> Result<(Site, Nodes), String> {
        let primary = Redis::start(&directory.join("redis-0")).await?;
        let replica = Redis::start(&directory.join("redis-1")).await?;
        replica.follow(&primary).await?;
        let gate = Gate::open(primary.address()).await.map_err(|error| format!("no gate: {error}"))?;
        let settings = [
            ("TIDINGS_REDIS_URL", format!("redis://{}/", gate.address())),
            ("TIDINGS_REDIS_DEADLINE", "2s".into()),
            ("TIDINGS_LOG_RETENTION_EVENTS", "10000000".into()),
            ("TIDINGS_LOG_RETENTION_BYTES", "4GiB".into()),
            // Positions come often enough to be met by cuts.
            ("TIDINGS_STREAM_KEEP_ALIVE", "1s".into()),
        ];
        let mut servers = Vec::new();
        for node in 0..NODES {
            servers.push(Server::start(binary, &directory.join(format!("node-{node}")), &settings).await?);
        }
        let addresses = servers.iter().map(Server::address).collect();
        let (ledger, figures, diary) = (Arc::clone(ledger), Arc::clone(figures), Arc::clone(diary));
        let nodes = Nodes {
            servers,
            ledger: Arc::clone(&ledger),
            figures: Arc::clone(&figures),
            diary: Arc::clone(&diary),
        };
        Ok((Site { primary, replica, gate, nodes: addresses, ledger, figures, diary }, nodes))
    }

    fn rng(&self, part: u64) -> StdRng {
        StdRng::seed_from_u64(seed_of(self.seed, part))
    }

    fn not_exercised(&self, figures: &Figures) -> Vec<Fault> {
        let mut needed = vec![
            ("acknowledged events", get(&figures.acknowledged)),
            ("deliveries", get(&figures.deliveries)),
            ("resumes", get(&figures.resumes)),
        ];
        if self.time >= EXERCISED_MIN {
            needed.push(("killed nodes", figures.named(NodeTrouble::Kill.as_str())));
            let all = RedisTrouble::of(self.loses);
            needed.extend(all.iter().map(|trouble| (trouble.as_str(), figures.named(trouble.as_str()))));
        }
        let missing = needed.iter().filter(|(_, count)| *count == 0);
        missing
            .map(|(what, _)| Fault::new(FaultKind::NotExercised, format!("there were no: {what}")))
            .collect()
    }
}

/// The names that events are published under.
fn channels() -> Vec<String> {
    (0..CHANNELS).map(|channel| format!("nodes.{}.{channel}", ["a", "b"][channel % 2])).collect()
}

/// A seed of its own for each part of a phase, spread by an odd multiplier.
fn seed_of(seed: u64, part: u64) -> u64 {
    (seed ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
