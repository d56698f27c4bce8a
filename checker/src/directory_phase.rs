//! The phase with one node whose directory is damaged: a full disk, changed durabilities, a deleted file.
//!
//! It runs in rounds, each with a directory of its own and with every fault. The node's history at the end of a round
//! is the reference log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tidings_protocol::body::GapReason;
use tokio::time::{Instant, sleep};

use crate::client_context::{ClientSettings, PROBE, lossy_channels};
use crate::counters::Counters;
use crate::disk::{Disk, copy_directory};
use crate::history::{History, InjectedLoss, PhaseTime};
use crate::http;
use crate::hub_server::HubServer;
use crate::named_enum::named_enum;
use crate::node_history;
use crate::oracle::{ComparisonResult, LossRule};
use crate::phase::{Cluster, PhaseRun};
use crate::random::{derive_seed, millis, rng};
use crate::report::PhaseReport;
use crate::violation::Violation;

/// Retention in bytes; a file of the log holds a sixteenth of it.
const RETENTION: &str = "16MiB";
const DURABILITY: &str = "TIDINGS_LOG_DURABILITY";
/// Size of a newest file that holds events.
const NEWEST_BYTES_MIN: u64 = 16 << 10;
/// Longest time in which events fill a file.
const FILE_DEADLINE: Duration = Duration::from_secs(30);

named_enum! {
    /// Faults of the directory, each once in a round.
    #[derive(ValueEnum)]
    pub(crate) enum DirectoryFault {
        /// The disk is full for a while. The node may be killed and started meanwhile.
        Full = "disk full",
        /// The node keeps the log in memory for a while; these events are lost afterwards.
        Memory = "memory meanwhile",
        /// The node syncs each event for a while, which loses no event.
        Fsync = "fsync meanwhile",
        /// The newest file of the log is deleted after a kill.
        Deletion = "newest file gone",
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

impl DirectoryPhase {
    /// Runs the phase in a directory of its own.
    pub(crate) async fn run(&self, binary: &Path, directory: &Path) -> PhaseReport {
        let counters = Arc::new(Counters::default());
        self.faults.iter().for_each(|fault| counters.add_row(fault.as_str(), 0));
        let (mut rounds, mut lost, mut due) = (0, 0, 0);
        let mut violations = Vec::new();
        let begun = Instant::now();
        while violations.is_empty() {
            let round_begun = Instant::now();
            let directory = directory.join(format!("round-{rounds}"));
            match self.round(rounds, binary, &directory, &counters).await {
                Err(text) => violations.push(Violation::process_fault(text)),
                Ok(result) => {
                    (lost, due) = (lost + result.lost, due + result.due);
                    violations.extend(result.violations);
                }
            }
            rounds += 1;
            if begun.elapsed() + round_begun.elapsed() > self.time {
                break;
            }
        }
        counters.add_row("rounds", rounds);
        counters.add_row("events lost", lost);
        counters.add_row("losses to report", due);
        if violations.is_empty() {
            violations.extend(self.not_exercised(&counters));
        }
        PhaseReport { name: self.name, counters, violations }
    }

    async fn round(
        &self,
        round: u64,
        binary: &Path,
        directory: &Path,
        counters: &Arc<Counters>,
    ) -> Result<ComparisonResult, String> {
        let seed = derive_seed(self.seed, round);
        let rule = LossRule::Injected { is_alone: true };
        let run = PhaseRun {
            name: self.name,
            time: self.time,
            rule,
            // Several files of the log fill up in a round.
            clients: ClientSettings { readers: 12, pad_max: 2000, ..ClientSettings::of_lossy_phase(seed) },
            history: Arc::new(History::new(lossy_channels(), false)),
            counters: Arc::clone(counters),
        };
        let disk = Disk::mount(directory)?;
        let data = disk.as_ref().map_or_else(|| directory.to_owned(), Disk::outside).join("data");
        let settings = [
            (DURABILITY, "interval".into()),
            ("TIDINGS_LOG_RETENTION_EVENTS", "10000000".into()),
            ("TIDINGS_LOG_RETENTION_BYTES", RETENTION.into()),
        ];
        let server = HubServer::start(binary, directory, disk, &settings).await?;
        let mut rng = rng(seed, 0);
        let mut faults = self.faults.clone();
        faults.shuffle(&mut rng);
        // The first round always kills the node on a full disk.
        let starts_full = round == 0 || rng.random_bool(0.5);
        let mut node = DirectoryNode { server, data, rng, faults, starts_full };
        let mut result = run.drive(&mut node).await;
        run.write_schedule(&result.violations, directory);
        let has_violations = !result.violations.is_empty();
        result.violations.extend(node.end(directory, has_violations).err().map(Violation::process_fault));
        Ok(result)
    }

    fn not_exercised(&self, counters: &Counters) -> Vec<Violation> {
        let mut needed = counters.traffic();
        // A user without the right to mount cannot fill a disk.
        let faults = self.faults.iter().filter(|fault| **fault != DirectoryFault::Full);
        needed.extend(faults.map(|fault| (fault.as_str().into(), counters.value(fault.as_str()))));
        if self.faults.iter().any(|fault| matches!(fault, DirectoryFault::Memory | DirectoryFault::Deletion))
        {
            needed.push(("events lost".into(), counters.value("events lost")));
            needed.push(("gaps".into(), counters.gaps(GapReason::Epoch)));
        }
        Violation::not_exercised(needed)
    }
}

/// A node with its directory and the faults of a round.
struct DirectoryNode {
    server: HubServer,
    data: PathBuf,
    rng: StdRng,
    faults: Vec<DirectoryFault>,
    /// Whether the node is killed and started while its disk is full.
    starts_full: bool,
}

impl Cluster for DirectoryNode {
    fn servers(&mut self) -> &mut [HubServer] {
        std::slice::from_mut(&mut self.server)
    }

    async fn inject_faults(&mut self, run: &PhaseRun) -> Result<(), String> {
        for fault in self.faults.clone() {
            sleep(millis(&mut self.rng, 300, 800)).await;
            run.history.note(fault.as_str());
            let injected = match fault {
                DirectoryFault::Full if self.server.disk.is_none() => {
                    println!(
                        "skipped: this kernel or user may not make a mount namespace, so no disk can be full"
                    );
                    continue;
                }
                DirectoryFault::Full => self.fill(run).await,
                DirectoryFault::Memory if self.rng.random_bool(0.3) => {
                    self.change_durability(run, &["memory", "memory", "interval"], true).await
                }
                DirectoryFault::Memory => self.change_durability(run, &["memory", "interval"], true).await,
                DirectoryFault::Fsync => self.change_durability(run, &["fsync", "interval"], false).await,
                DirectoryFault::Deletion => self.delete_newest(run).await,
            };
            injected.map_err(|error| format!("{}: {error}", fault.as_str()))?;
            run.counters.increment(fault.as_str());
        }
        Ok(())
    }
}

impl DirectoryNode {
    /// Fills the disk, checks that the node answers reads, and frees the disk.
    async fn fill(&mut self, run: &PhaseRun) -> Result<(), String> {
        self.server.disk.as_ref().map_or(Ok(()), Disk::fill)?;
        self.server.until("/readyz", 503).await?;
        http::get_ok(self.server.address, PROBE).await?;
        if self.starts_full {
            run.end_server(&mut self.server, &mut self.rng, 1.0).await?;
            self.server.start_again()?;
            self.server.until("/healthz", 200).await?;
            http::get_ok(self.server.address, PROBE).await?;
        }
        self.server.disk.as_ref().map_or(Ok(()), Disk::free)?;
        run.history.note("the disk has free space again");
        self.server.until_ready().await?;
        Ok(())
    }

    /// Restarts the node with each of these durabilities in turn; events are lost at each if `loses`.
    async fn change_durability(
        &mut self,
        run: &PhaseRun,
        durabilities: &[&str],
        loses: bool,
    ) -> Result<(), String> {
        for durability in durabilities {
            let begun = run.history.now();
            run.end_server(&mut self.server, &mut self.rng, 0.7).await?;
            let ended = run.history.now();
            run.history.note(format!("started with {durability}"));
            self.server.set(DURABILITY, durability);
            self.server.restart().await?;
            if loses {
                self.add_loss(run, "a change of durability", &[GapReason::Epoch], begun, ended).await?;
            }
            sleep(millis(&mut self.rng, 200, 800)).await;
        }
        Ok(())
    }

    /// Deletes the newest of several files while the node is down.
    async fn delete_newest(&mut self, run: &PhaseRun) -> Result<(), String> {
        let deadline = Instant::now() + FILE_DEADLINE;
        while self.newest_of_several()?.is_none() {
            if Instant::now() >= deadline {
                let seconds = FILE_DEADLINE.as_secs();
                return Err(format!("the log has fewer than two files with events after {seconds} s"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        let begun = run.history.now();
        run.end_server(&mut self.server, &mut self.rng, 1.0).await?;
        let newest = self.newest_of_several()?.ok_or("the log has not two files any more")?;
        std::fs::remove_file(&newest).map_err(|error| format!("{}: {error}", newest.display()))?;
        let ended = run.history.now();
        run.history.note(format!("{} is deleted", newest.display()));
        self.server.restart().await?;
        let fault = DirectoryFault::Deletion.as_str();
        // An id of an event in that file is newer than the head of the log.
        self.add_loss(run, fault, &[GapReason::Epoch, GapReason::Ahead], begun, ended).await
    }

    fn newest_of_several(&self) -> Result<Option<PathBuf>, String> {
        let folder = self.data.join("segments");
        let files = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut files: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
        files.sort();
        let newest = files.pop().filter(|_| !files.is_empty());
        Ok(newest.filter(|file| file.metadata().is_ok_and(|it| it.len() >= NEWEST_BYTES_MIN)))
    }

    /// Records entries that the node has no longer as lost.
    async fn add_loss(
        &self,
        run: &PhaseRun,
        fault: &'static str,
        reasons: &'static [GapReason],
        begun: PhaseTime,
        ended: PhaseTime,
    ) -> Result<(), String> {
        let (log, violations) = node_history::read_log(self.server.address, &run.history).await;
        if let Some(violation) = violations.into_iter().next() {
            return Err(violation.explanation);
        }
        run.history.note(format!("{fault}: {} events are left", log.len()));
        let kept = log.iter().map(|record| record.position).collect();
        run.history.add_loss(InjectedLoss { fault, reasons, trimmed: None, begun, ended, kept });
        Ok(())
    }

    /// Ends the node and its disk; keeps the content of the disk if there is a violation.
    fn end(mut self, directory: &Path, has_violations: bool) -> Result<(), String> {
        self.server.kill();
        let Some(disk) = self.server.disk else { return Ok(()) };
        if has_violations {
            copy_directory(&disk.outside(), &directory.join("disk-saved"));
        }
        disk.unmount()?;
        if has_violations {
            return Ok(());
        }
        std::fs::remove_dir_all(directory)
            .map_err(|error| format!("{} cannot be removed: {error}", directory.display()))
    }
}
