//! One node whose directory suffers: its disk is full, other logs serve in between, its newest file is gone.
//!
//! The phase goes by rounds, each with a directory of its own and every trouble in it. What the node's history tells at the end
//! of a round is the log.

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

use super::clients::{Clients, Crowd};
use super::compare::Truth;
use super::disk::Disk;
use super::ledger::{Ledger, Loss, Moment};
use super::trouble::Diary;
use super::{CLOSING_DEADLINE, channels, history, seed_of};
use crate::http;
use crate::report::{Fault, FaultKind, Figures, PhaseReport, add, get};
use crate::server::Server;

const PUBLISHERS: u32 = 4;
const READERS: usize = 12;
/// Characters that pad an event, at most: several files of the log are full in a round.
const PAD_MAX: usize = 2000;
/// A file of the log has a sixteenth of it.
const RETENTION: &str = "16MiB";
const DURABILITY: &str = "TIDINGS_LOG_DURABILITY";
/// Bytes of the newest file from which on it holds events.
const NEWEST_BYTES_MIN: u64 = 16 << 10;
/// How long events may take to fill a file.
const FILE_DEADLINE: Duration = Duration::from_secs(30);
/// Requests that a node answers while its disk is full.
const READ: &str = "/api/v1/channels/nodes.a.0/events?limit=1";

/// Faults of the directory, each once in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trouble {
    /// The disk has no room for a while, and the node may be killed and started meanwhile.
    Full,
    /// The node serves from memory for a while: what that took is gone afterwards.
    Memory,
    /// The node syncs each event for a while, which loses nothing.
    Fsync,
    /// The newest file of the log is gone after a kill.
    Deletion,
}

impl Trouble {
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
    /// For so long rounds are begun that end in time, and one in any case.
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    /// Faults, in any order.
    pub(crate) troubles: Vec<Trouble>,
}

/// Counts over all rounds.
#[derive(Default)]
struct Findings {
    faults: Vec<Fault>,
    rounds: u64,
    lost: u64,
    due: u64,
}

impl DirectoryPhase {
    /// Runs the phase in a directory of its own.
    pub(crate) async fn run(&self, binary: &Path, directory: &Path) -> PhaseReport {
        let figures = Arc::new(Figures::default());
        self.troubles.iter().for_each(|trouble| figures.name_with(trouble.as_str(), 0));
        let mut findings = Findings::default();
        let begun = Instant::now();
        loop {
            let round_begun = Instant::now();
            let directory = directory.join(format!("round-{}", findings.rounds));
            self.round(binary, &directory, &figures, &mut findings).await;
            findings.rounds += 1;
            if !findings.faults.is_empty() || begun.elapsed() + round_begun.elapsed() > self.time {
                break;
            }
        }
        figures.name_with("rounds", findings.rounds);
        figures.name_with("events lost", findings.lost);
        figures.name_with("losses to be told", findings.due);
        if findings.faults.is_empty() {
            findings.faults.extend(self.not_exercised(&figures));
        }
        let figures = Arc::into_inner(figures).expect("every task of the phase has ended");
        PhaseReport { name: self.name, figures, faults: findings.faults }
    }

    async fn round(&self, binary: &Path, directory: &Path, figures: &Arc<Figures>, findings: &mut Findings) {
        let ledger = Arc::new(Ledger::new(channels()));
        let diary = Diary::new(Arc::clone(&ledger));
        let mut site = match Site::build(binary, directory, &ledger, figures, diary).await {
            Ok(site) => site,
            Err(text) => return findings.faults.push(Fault::new(FaultKind::Restart, text)),
        };
        let seed = seed_of(self.seed, findings.rounds);
        let nodes = vec![site.server.address()];
        let crowd = Crowd { nodes, publishers: PUBLISHERS, readers: READERS, pad_max: PAD_MAX, seed };
        let mut clients = Clients::start(crowd, &ledger, figures);
        if let Err(text) = site.drive(&mut clients, &self.troubles, seed, findings).await {
            findings.faults.push(Fault::new(FaultKind::Restart, text));
        }
        // However that ended, no client goes on.
        clients.shut_down().await;
        site.leave(directory, findings).await;
    }

    fn not_exercised(&self, figures: &Figures) -> Vec<Fault> {
        let mut needed = vec![
            ("acknowledged events", get(&figures.acknowledged)),
            ("deliveries", get(&figures.deliveries)),
            ("resumes", get(&figures.resumes)),
        ];
        // A user who may mount nothing cannot fill a disk.
        let troubles = self.troubles.iter().filter(|trouble| **trouble != Trouble::Full);
        needed.extend(troubles.map(|trouble| (trouble.as_str(), figures.named(trouble.as_str()))));
        if self.troubles.iter().any(|trouble| matches!(trouble, Trouble::Memory | Trouble::Deletion)) {
            needed.push(("events lost", figures.named("events lost")));
            needed.push(("gaps", figures.gaps(GapReason::Epoch)));
        }
        let missing = needed.iter().filter(|(_, count)| *count == 0);
        missing
            .map(|(what, _)| Fault::new(FaultKind::NotExercised, format!("there were no: {what}")))
            .collect()
    }
}

/// A node with its directory, and what happens to both.
struct Site {
    server: Server,
    data: PathBuf,
    ledger: Arc<Ledger>,
    figures: Arc<Figures>,
    diary: Diary,
}

impl Site {
    async fn build(
        binary: &Path,
        directory: &Path,
        ledger: &Arc<Ledger>,
        figures: &Arc<Figures>,
        diary: Diary,
    ) -> Result<Self, String> {
        let disk = Disk::mount(directory).await?;
        let data = disk.as_ref().map_or_else(|| directory.to_owned(), Disk::outside).join("data");
        let settings = [
            (DURABILITY, "interval".into()),
            ("TIDINGS_LOG_RETENTION_EVENTS", "10000000".into()),
            ("TIDINGS_LOG_RETENTION_BYTES", RETENTION.into()),
            // Positions come often enough to be met by cuts.
            ("TIDINGS_STREAM_KEEP_ALIVE", "1s".into()),
        ];
        let server = Server::start_on(disk, binary, directory, &settings).await?;
        Ok(Self { server, data, ledger: Arc::clone(ledger), figures: Arc::clone(figures), diary })
    }

    /// Makes every trouble, and then compares what everybody saw with what is there.
    async fn drive(
        &mut self,
        clients: &mut Clients,
        troubles: &[Trouble],
        seed: u64,
        findings: &mut Findings,
    ) -> Result<(), String> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut troubles = troubles.to_vec();
        troubles.shuffle(&mut rng);
        // The first round leaves nothing to chance.
        let starts_full = findings.rounds == 0 || rng.random_bool(0.5);
        for trouble in troubles {
            sleep(millis(&mut rng, 300, 800)).await;
            self.diary.note(trouble.as_str());
            let made = match trouble {
                Trouble::Full => self.fill(starts_full).await,
                Trouble::Memory => self.serve_from_memory(&mut rng).await,
                Trouble::Fsync => self.sync_each(&mut rng).await,
                Trouble::Deletion => self.delete_newest().await,
            };
            made.map_err(|why| format!("{}: {why}", trouble.as_str()))?;
        }
        self.diary.note("no more trouble");
        let (records, faults) = clients.finish(&self.diary).await;
        findings.faults.extend(faults);
        let (server, ledger) = (&mut self.server, &self.ledger);
        let log = timeout(CLOSING_DEADLINE, history::log(server.address(), &ledger.channels)).await;
        let log = log.map_err(|_| "history was not read in time")??;
        let ended = server.unasked_end().or(server.terminate().await.err()).or(server.panic());
        findings.faults.extend(ended.map(|text| Fault::new(FaultKind::Restart, text)));
        let (channels, sent) = (ledger.channels.clone(), ledger.sent());
        let (losses, absences) = (ledger.losses(), ledger.absences());
        let found = Truth { channels, sent, losses, absences, log, records, is_alone: true }.compare();
        findings.lost += found.lost;
        findings.due += found.due;
        findings.faults.extend(found.faults);
        found.notes.iter().for_each(|note| self.diary.note(note.as_str()));
        Ok(())
    }

    /// Takes all room, has the node read meanwhile, and gives the room back.
    async fn fill(&mut self, starts_full: bool) -> Result<(), String> {
        let Some(disk) = self.server.disk() else {
            println!(
                "skipped: this kernel or user may not make a mount namespace, so no disk can be made full"
            );
            return Ok(());
        };
        disk.fill()?;
        self.server.until("/readyz", 503).await?;
        self.is_read().await?;
        if starts_full {
            self.diary.note("killed while its disk is full");
            self.kill().await?;
            self.server.start_again()?;
            self.server.until("/healthz", 200).await?;
            self.is_read().await?;
        }
        self.server.disk().map_or(Ok(()), Disk::free)?;
        self.diary.note("there is room again");
        self.server.until_ready().await?;
        self.is_made(Trouble::Full);
        Ok(())
    }

    async fn is_read(&self) -> Result<(), String> {
        match http::get(self.server.address(), READ).await {
            Ok((200, _)) => Ok(()),
            Ok((status, body)) => Err(format!("{READ} gave {status}: {}", String::from_utf8_lossy(&body))),
            Err(error) => Err(format!("{READ} gave {error}")),
        }
    }

    /// Has the node serve from memory, which is lost at each of its ends, and from its disk again.
    async fn serve_from_memory(&mut self, rng: &mut StdRng) -> Result<(), String> {
        let changes: &[_] =
            if rng.random_bool(0.3) { &["memory", "memory", "interval"] } else { &["memory", "interval"] };
        for durability in changes {
            let (begun, ended) = self.restart_with(rng, durability).await?;
            self.lose("a change of durability", &[GapReason::Epoch], begun, ended).await?;
            sleep(millis(rng, 300, 800)).await;
        }
        self.is_made(Trouble::Memory);
        Ok(())
    }

    async fn sync_each(&mut self, rng: &mut StdRng) -> Result<(), String> {
        for durability in ["fsync", "interval"] {
            self.restart_with(rng, durability).await?;
            sleep(millis(rng, 200, 500)).await;
        }
        self.is_made(Trouble::Fsync);
        Ok(())
    }

    async fn restart_with(&mut self, rng: &mut StdRng, durability: &str) -> Result<(Moment, Moment), String> {
        let begun = self.ledger.now();
        if rng.random_bool(0.7) {
            self.kill().await?;
        } else {
            add(&self.figures.graceful_restarts, 1);
            self.server.terminate().await?;
        }
        let ended = self.ledger.now();
        self.diary.note(format!("ended, and started with {durability}"));
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
                return Err(format!("the log has not two files with events after {seconds} s"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        let begun = self.ledger.now();
        self.kill().await?;
        let newest = self.newest_of_several()?.ok_or("the log has not two files any more")?;
        std::fs::remove_file(&newest).map_err(|error| format!("{}: {error}", newest.display()))?;
        let ended = self.ledger.now();
        self.diary.note(format!("{} is deleted", newest.display()));
        self.server.restart().await?;
        self.is_made(Trouble::Deletion);
        // An id of what the file held is newer than the end of the log.
        self.lose(Trouble::Deletion.as_str(), &[GapReason::Epoch, GapReason::Ahead], begun, ended).await
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

    /// Notes that what the node does not tell any more was lost.
    async fn lose(
        &self,
        what: &'static str,
        reasons: &'static [GapReason],
        begun: Moment,
        ended: Moment,
    ) -> Result<(), String> {
        let log = history::log(self.server.address(), &self.ledger.channels).await?;
        let kept: BTreeSet<_> = log.iter().map(|entry| entry.place).collect();
        self.diary.note(format!("{what}: {} events are left", kept.len()));
        self.ledger.lose(Loss { what, reasons, trimmed: None, begun, ended, kept });
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), String> {
        if let Some(end) = self.server.unasked_end() {
            return Err(format!("the node {end}"));
        }
        add(&self.figures.kills, 1);
        self.server.kill().await
    }

    fn is_made(&self, trouble: Trouble) {
        self.figures.add_named(trouble.as_str());
    }

    /// Ends the node, and the disk with it; what was on it stays if there is a fault.
    async fn leave(mut self, directory: &Path, findings: &mut Findings) {
        let mut ended = self.server.kill().await;
        let has_disk = self.server.disk().is_some();
        if !findings.faults.is_empty() {
            eprintln!("what was done is in {}", self.diary.write(directory).display());
        }
        if let Some(disk) = self.server.into_disk() {
            if !findings.faults.is_empty() {
                disk.save(&directory.join("disk-saved")).await;
            }
            ended = ended.and(disk.unmount().await);
        }
        if has_disk && findings.faults.is_empty() && ended.is_ok() {
            let removed = std::fs::remove_dir_all(directory);
            ended = removed.map_err(|error| format!("{} cannot be removed: {error}", directory.display()));
        }
        findings.faults.extend(ended.err().map(|text| Fault::new(FaultKind::Restart, text)));
    }
}

fn millis(rng: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..=to))
}
