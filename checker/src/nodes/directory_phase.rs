//! The phase with one node whose directory is damaged: a full disk, changed durabilities, a deleted file.
//!
//! It runs in rounds, each with a directory of its own and with every fault. The node's history at the end of a round
//! is the reference log.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tidings_protocol::body::GapReason;
use tokio::time::{Instant, sleep, timeout};

use super::clients::{CLOSING_DEADLINE, PhaseClientSettings, PhaseClients, channels};
use super::compare::NodesOracle;
use super::history::{InjectedLoss, OperationHistory, PhaseTime};
use super::node_history::read_log;
use crate::counters::{Counters, add, get};
use crate::disk::{Disk, copy_directory};
use crate::http;
use crate::random::{derive_seed, millis};
use crate::report::PhaseReport;
use crate::server::HubServer;
use crate::violation::Violation;

const PUBLISHERS: u32 = 4;
const READERS: usize = 12;
/// Most characters of an event's padding: several files of the log fill up in a round.
const PAD_MAX: usize = 2000;
/// Retention in bytes; a file of the log holds a sixteenth of it.
const RETENTION: &str = "16MiB";
const DURABILITY: &str = "TIDINGS_LOG_DURABILITY";
/// Size of a newest file that holds events.
const NEWEST_BYTES_MIN: u64 = 16 << 10;
/// Longest time in which events fill a file.
const FILE_DEADLINE: Duration = Duration::from_secs(30);
/// Request that a node answers while its disk is full.
const READ: &str = "/api/v1/channels/nodes.a.0/events?limit=1";

/// Faults of the directory, each once in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DirectoryFault {
    /// The disk is full for a while. The node may be killed and started meanwhile.
    Full,
    /// The node keeps the log in memory for a while; these events are lost afterwards.
    Memory,
    /// The node syncs each event for a while, which loses no event.
    Fsync,
    /// The newest file of the log is deleted after a kill.
    Deletion,
}

impl DirectoryFault {
    pub(crate) const ALL: [Self; 4] = [Self::Full, Self::Memory, Self::Fsync, Self::Deletion];

    fn as_str(self) -> &'static str {
        match self {
            Self::Full => "disk full",
            Self::Memory => "memory meanwhile",
            Self::Fsync => "fsync meanwhile",
            Self::Deletion => "newest file gone",
        }
    }
}

/// Settings of the phase.
#[derive(Clone, Debug)]
pub(crate) struct DirectoryPhase {
    pub(crate) name: &'static str,
    /// Time in which rounds are begun; at least one round runs.
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    /// Faults, in any order.
    pub(crate) faults: Vec<DirectoryFault>,
}

/// Totals of all rounds.
#[derive(Default)]
struct RoundTotals {
    violations: Vec<Violation>,
    rounds: u64,
    lost: u64,
    due: u64,
}

impl DirectoryPhase {
    /// Runs the phase in a directory of its own.
    pub(crate) async fn run(&self, binary: &Path, directory: &Path) -> PhaseReport {
        let counters = Arc::new(Counters::default());
        self.faults.iter().for_each(|fault| counters.add_row(fault.as_str(), 0));
        let mut totals = RoundTotals::default();
        let begun = Instant::now();
        loop {
            let round_begun = Instant::now();
            let directory = directory.join(format!("round-{}", totals.rounds));
            self.round(binary, &directory, &counters, &mut totals).await;
            totals.rounds += 1;
            if !totals.violations.is_empty() || begun.elapsed() + round_begun.elapsed() > self.time {
                break;
            }
        }
        counters.add_row("rounds", totals.rounds);
        counters.add_row("events lost", totals.lost);
        counters.add_row("losses to report", totals.due);
        if totals.violations.is_empty() {
            totals.violations.extend(self.not_exercised(&counters));
        }
        let counters = Arc::into_inner(counters).expect("every task of the phase has ended");
        PhaseReport { name: self.name, counters, violations: totals.violations }
    }

    async fn round(
        &self,
        binary: &Path,
        directory: &Path,
        counters: &Arc<Counters>,
        totals: &mut RoundTotals,
    ) {
        let history = Arc::new(OperationHistory::new(channels()));
        let mut node = match DirectoryNode::start(binary, directory, &history, counters).await {
            Ok(node) => node,
            Err(text) => return totals.violations.push(Violation::restart(text)),
        };
        let seed = derive_seed(self.seed, totals.rounds);
        let nodes = vec![node.server.address()];
        let settings =
            PhaseClientSettings { nodes, publishers: PUBLISHERS, readers: READERS, pad_max: PAD_MAX, seed };
        let mut clients = PhaseClients::start(settings, &history, counters);
        if let Err(text) = node.drive(&mut clients, &self.faults, seed, totals).await {
            totals.violations.push(Violation::restart(text));
        }
        clients.shut_down().await;
        node.end(directory, totals).await;
    }

    fn not_exercised(&self, counters: &Counters) -> Vec<Violation> {
        let mut needed = vec![
            ("acknowledged events", get(&counters.acknowledged)),
            ("deliveries", get(&counters.deliveries)),
            ("resumes", get(&counters.resumes)),
        ];
        // A user without the right to mount cannot fill a disk.
        let faults = self.faults.iter().filter(|fault| **fault != DirectoryFault::Full);
        needed.extend(faults.map(|fault| (fault.as_str(), counters.value(fault.as_str()))));
        if self.faults.iter().any(|fault| matches!(fault, DirectoryFault::Memory | DirectoryFault::Deletion))
        {
            needed.push(("events lost", counters.value("events lost")));
            needed.push(("gaps", counters.gaps(GapReason::Epoch)));
        }
        Violation::not_exercised(needed)
    }
}

/// A node with its directory.
struct DirectoryNode {
    server: HubServer,
    data: PathBuf,
    history: Arc<OperationHistory>,
    counters: Arc<Counters>,
}

impl DirectoryNode {
    async fn start(
        binary: &Path,
        directory: &Path,
        history: &Arc<OperationHistory>,
        counters: &Arc<Counters>,
    ) -> Result<Self, String> {
        let disk = Disk::mount(directory).await?;
        let data = disk.as_ref().map_or_else(|| directory.to_owned(), Disk::outside).join("data");
        let settings = [
            (DURABILITY, "interval".into()),
            ("TIDINGS_LOG_RETENTION_EVENTS", "10000000".into()),
            ("TIDINGS_LOG_RETENTION_BYTES", RETENTION.into()),
            // Frequent positions: cuts meet some of them.
            ("TIDINGS_STREAM_KEEP_ALIVE", "1s".into()),
        ];
        let server = HubServer::start_on(disk, binary, directory, &settings).await?;
        Ok(Self { server, data, history: Arc::clone(history), counters: Arc::clone(counters) })
    }

    /// Injects every fault, and then compares all observations with the node's history.
    async fn drive(
        &mut self,
        clients: &mut PhaseClients,
        faults: &[DirectoryFault],
        seed: u64,
        totals: &mut RoundTotals,
    ) -> Result<(), String> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut faults = faults.to_vec();
        faults.shuffle(&mut rng);
        // The first round always kills the node on a full disk.
        let starts_full = totals.rounds == 0 || rng.random_bool(0.5);
        for fault in faults {
            sleep(millis(&mut rng, 300, 800)).await;
            self.history.note(fault.as_str());
            let injected = match fault {
                DirectoryFault::Full => self.fill(starts_full).await,
                DirectoryFault::Memory => self.serve_from_memory(&mut rng).await,
                DirectoryFault::Fsync => self.sync_each(&mut rng).await,
                DirectoryFault::Deletion => self.delete_newest().await,
            };
            injected.map_err(|error| format!("{}: {error}", fault.as_str()))?;
        }
        self.history.note("no more faults");
        let (readers, violations) = clients.finish().await;
        totals.violations.extend(violations);
        let server = &mut self.server;
        let log = timeout(CLOSING_DEADLINE, read_log(server.address(), &self.history.channels)).await;
        let log = log.map_err(|_| "history was not read in time")??;
        let ended = server.unasked_end().or(server.terminate().await.err()).or(server.panic());
        totals.violations.extend(ended.map(Violation::restart));
        let found = NodesOracle::new(&self.history, log, readers, true).compare();
        totals.lost += found.lost;
        totals.due += found.due;
        totals.violations.extend(found.violations);
        found.notes.iter().for_each(|note| self.history.note(note.as_str()));
        Ok(())
    }

    /// Fills the disk, checks that the node answers reads, and frees the disk.
    async fn fill(&mut self, starts_full: bool) -> Result<(), String> {
        let Some(disk) = self.server.disk() else {
            println!(
                "skipped: this kernel or user may not make a mount namespace, so no disk can be made full"
            );
            return Ok(());
        };
        disk.fill()?;
        self.server.until("/readyz", 503).await?;
        self.check_read().await?;
        if starts_full {
            self.history.note("killed while its disk is full");
            self.kill().await?;
            self.server.start_again()?;
            self.server.until("/healthz", 200).await?;
            self.check_read().await?;
        }
        self.server.disk().map_or(Ok(()), Disk::free)?;
        self.history.note("the disk has free space again");
        self.server.until_ready().await?;
        self.count(DirectoryFault::Full);
        Ok(())
    }

    async fn check_read(&self) -> Result<(), String> {
        match http::get(self.server.address(), READ).await {
            Ok((200, _)) => Ok(()),
            Ok((status, body)) => {
                Err(format!("GET {READ} returned {status}: {}", String::from_utf8_lossy(&body)))
            }
            Err(error) => Err(format!("GET {READ} returned {error}")),
        }
    }

    /// Restarts the node with its log in memory, and then on its disk again.
    async fn serve_from_memory(&mut self, rng: &mut StdRng) -> Result<(), String> {
        let changes: &[_] =
            if rng.random_bool(0.3) { &["memory", "memory", "interval"] } else { &["memory", "interval"] };
        for durability in changes {
            let (begun, ended) = self.restart_with(rng, durability).await?;
            self.add_loss("a change of durability", &[GapReason::Epoch], begun, ended).await?;
            sleep(millis(rng, 300, 800)).await;
        }
        self.count(DirectoryFault::Memory);
        Ok(())
    }

    async fn sync_each(&mut self, rng: &mut StdRng) -> Result<(), String> {
        for durability in ["fsync", "interval"] {
            self.restart_with(rng, durability).await?;
            sleep(millis(rng, 200, 500)).await;
        }
        self.count(DirectoryFault::Fsync);
        Ok(())
    }

    async fn restart_with(
        &mut self,
        rng: &mut StdRng,
        durability: &str,
    ) -> Result<(PhaseTime, PhaseTime), String> {
        let begun = self.history.now();
        if rng.random_bool(0.7) {
            self.kill().await?;
        } else {
            add(&self.counters.graceful_restarts, 1);
            self.server.terminate().await?;
        }
        let ended = self.history.now();
        self.history.note(format!("ended, and started with {durability}"));
        self.server.set(DURABILITY, durability);
        self.server.restart().await?;
        Ok((begun, ended))
    }

    /// Deletes the newest of several files while the node is down.
    async fn delete_newest(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + FILE_DEADLINE;
        while self.newest_of_several()?.is_none() {
            if Instant::now() >= deadline {
                let seconds = FILE_DEADLINE.as_secs();
                return Err(format!("the log has fewer than two files with events after {seconds} s"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        let begun = self.history.now();
        self.kill().await?;
        let newest = self.newest_of_several()?.ok_or("the log has not two files any more")?;
        std::fs::remove_file(&newest).map_err(|error| format!("{}: {error}", newest.display()))?;
        let ended = self.history.now();
        self.history.note(format!("{} is deleted", newest.display()));
        self.server.restart().await?;
        self.count(DirectoryFault::Deletion);
        // An id of an event in that file is newer than the head of the log.
        self.add_loss(DirectoryFault::Deletion.as_str(), &[GapReason::Epoch, GapReason::Ahead], begun, ended)
            .await
    }

    fn newest_of_several(&self) -> Result<Option<PathBuf>, String> {
        let folder = self.data.join("segments");
        let files = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut files: Vec<_> = files
            .filter_map(Result::ok)
            .filter(|file| file.path().extension().is_some_and(|extension| extension == "log"))
            .collect();
        files.sort_by_key(std::fs::DirEntry::file_name);
        let newest = files.last().filter(|_| files.len() > 1);
        let bytes = newest.and_then(|file| file.metadata().ok()).map_or(0, |it| it.len());
        Ok(newest.filter(|_| bytes >= NEWEST_BYTES_MIN).map(std::fs::DirEntry::path))
    }

    /// Records entries that the node has no longer as lost.
    async fn add_loss(
        &self,
        fault: &'static str,
        reasons: &'static [GapReason],
        begun: PhaseTime,
        ended: PhaseTime,
    ) -> Result<(), String> {
        let log = read_log(self.server.address(), &self.history.channels).await?;
        let kept: BTreeSet<_> = log.iter().map(|entry| entry.place).collect();
        self.history.note(format!("{fault}: {} events are left", kept.len()));
        self.history.add_loss(InjectedLoss { fault, reasons, trimmed: None, begun, ended, kept });
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), String> {
        if let Some(end) = self.server.unasked_end() {
            return Err(format!("the node {end}"));
        }
        add(&self.counters.kills, 1);
        self.server.kill().await
    }

    fn count(&self, fault: DirectoryFault) {
        self.counters.increment(fault.as_str());
    }

    /// Ends the node and its disk; keeps the content of the disk if there is a violation.
    async fn end(mut self, directory: &Path, totals: &mut RoundTotals) {
        let mut ended = self.server.kill().await;
        let has_disk = self.server.disk().is_some();
        if !totals.violations.is_empty() {
            eprintln!("schedule of faults: {}", self.history.write_schedule(directory).display());
        }
        if let Some(disk) = self.server.into_disk() {
            if !totals.violations.is_empty() {
                copy_directory(&disk.outside(), &directory.join("disk-saved")).await;
            }
            ended = ended.and(disk.unmount().await);
        }
        if has_disk && totals.violations.is_empty() && ended.is_ok() {
            let removed = std::fs::remove_dir_all(directory);
            ended = removed.map_err(|error| format!("{} cannot be removed: {error}", directory.display()));
        }
        totals.violations.extend(ended.err().map(Violation::restart));
    }
}
