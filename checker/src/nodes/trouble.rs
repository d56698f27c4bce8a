//! What is done to nodes and to Redis, when, in which order: drawn from a seed and written down.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::ValueEnum;
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use tidings_protocol::body::GapReason;
use tokio::time::{Instant, sleep, timeout};

use super::gate::Gate;
use super::ledger::{Absence, Ledger, Loss, Moment};
use super::log;
use super::redis::Redis;
use crate::http;
use crate::report::Figures;
use crate::server::Server;

/// How long writes stand still while a replica comes into step.
const STANDSTILL: &str = "8000";

/// How far a node's clock goes wrong: ahead of all that retention keeps, and less than a window either way.
const CLOCK_OFFSETS: [&str; 4] = ["+25h", "-3m", "+3m", "+0"];
/// Keys without which the log begins anew.
const EVICTED: [&str; 2] = ["{tidings}:epochs", "{tidings}:meta"];
/// Gap reasons for a loss. An open stream is told `lagged` if its node has passed over what Redis lost.
const REASONS: [GapReason; 4] = [GapReason::Epoch, GapReason::Diverged, GapReason::Ahead, GapReason::Lagged];
/// Gap reasons for a trim.
const TRIM_REASONS: [GapReason; 2] = [GapReason::Trimmed, GapReason::Lagged];
/// What a node answers though Redis takes nothing.
const PROBED: &str = "/api/v1/channels/nodes.a.0/events?limit=1";
const PROBE_DEADLINE: Duration = Duration::from_millis(500);
/// Counts times that Redis could be read and no node was.
pub(super) const BLIND: &str = "nodes blind";

/// Faults that have to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Extra {
    /// Nodes start with clocks that are wrong.
    ClockSkew,
}

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeTrouble {
    Kill,
    Terminate,
    Stop,
    /// Starts again with another clock.
    Skew,
}

impl NodeTrouble {
    pub(super) const ALL: [Self; 4] = [Self::Kill, Self::Terminate, Self::Stop, Self::Skew];
    /// How often each comes, in whatever order, before all come again.
    const ROUND: [Self; 6] = [Self::Kill, Self::Kill, Self::Kill, Self::Terminate, Self::Stop, Self::Stop];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "node killed",
            Self::Terminate => "node ended",
            Self::Stop => "node stopped",
            Self::Skew => "node with other clock",
        }
    }
}

/// What is done to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RedisTrouble {
    CutCalls,
    CutPubSub,
    HalfOpen,
    Stop,
    Sleep,
    Restart,
    Failover,
    ThereAndBack,
    Full,
    // From here on something is lost.
    RestartEmpty,
    Flush,
    LossyFailover,
    LossyThereAndBack,
    Evict,
    /// Of the log itself, which then goes on as after a trim.
    EvictLog,
}

impl RedisTrouble {
    pub(super) const ALL: [Self; 15] = [
        Self::CutCalls,
        Self::CutPubSub,
        Self::HalfOpen,
        Self::Stop,
        Self::Sleep,
        Self::Restart,
        Self::Failover,
        Self::ThereAndBack,
        Self::Full,
        Self::RestartEmpty,
        Self::Flush,
        Self::LossyFailover,
        Self::LossyThereAndBack,
        Self::Evict,
        Self::EvictLog,
    ];
    /// Those that lose nothing come first.
    const HARMLESS: usize = 9;

    /// Those that lose something, or nothing.
    pub(super) fn of(loses: bool) -> &'static [Self] {
        const SORTED: (&[RedisTrouble], &[RedisTrouble]) = RedisTrouble::ALL.split_at(RedisTrouble::HARMLESS);
        if loses { SORTED.1 } else { SORTED.0 }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::CutCalls => "CLIENT KILL",
            Self::CutPubSub => "same, of Pub/Sub",
            Self::HalfOpen => "half-open",
            Self::Stop => "redis stopped",
            Self::Sleep => "DEBUG SLEEP 5",
            Self::Restart => "restart with data",
            Self::Failover => "failover in step",
            Self::ThereAndBack => "there and back",
            Self::Full => "redis full",
            Self::RestartEmpty => "restart, no data",
            Self::Flush => "FLUSHALL",
            Self::LossyFailover => "lossy failover",
            Self::LossyThereAndBack => "same, there and back",
            Self::Evict => "key evicted",
            Self::EvictLog => "log evicted",
        }
    }
}

/// What was done, with its time.
pub(super) struct Diary {
    ledger: Arc<Ledger>,
    lines: Mutex<Vec<(Moment, String)>>,
}

impl Diary {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, lines: Mutex::default() }
    }

    pub(super) fn note(&self, what: impl Into<String>) {
        self.lines.lock().expect("no holder panics").push((self.ledger.now(), what.into()));
    }

    /// Writes it to a file, and returns which.
    pub(super) fn write(&self, directory: &Path) -> PathBuf {
        let path = directory.join("schedule.log");
        let lines = self.lines.lock().expect("no holder panics");
        let text = lines.iter().map(|(at, what)| format!("{:9.3} s {what}\n", at.as_secs_f64()));
        if let Err(error) = std::fs::write(&path, text.collect::<String>()) {
            eprintln!("{} cannot be written: {error}", path.display());
        }
        path
    }
}

/// The nodes, and what happens to them.
pub(super) struct Nodes {
    pub(super) servers: Vec<Server>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) figures: Arc<Figures>,
    pub(super) diary: Arc<Diary>,
}

impl Nodes {
    /// Makes trouble until then.
    ///
    /// # Errors
    /// What could not be done.
    pub(super) async fn trouble(
        &mut self,
        mut rng: StdRng,
        until: Moment,
        pause_max: u64,
        with: &[Extra],
    ) -> Result<(), String> {
        let skew = with.contains(&Extra::ClockSkew).then_some(NodeTrouble::Skew);
        let mut left: Vec<_> = skew.into_iter().chain([NodeTrouble::Kill]).collect();
        loop {
            sleep(millis(&mut rng, pause_max / 4, pause_max)).await;
            if self.ledger.now() >= until {
                return Ok(());
            }
            if left.is_empty() {
                left = NodeTrouble::ROUND.to_vec();
                left.extend(skew);
            }
            let trouble = left.swap_remove(rng.random_range(0..left.len()));
            let node = rng.random_range(0..self.servers.len());
            self.make(&mut rng, trouble, node).await?;
        }
    }

    async fn make(&mut self, rng: &mut StdRng, trouble: NodeTrouble, node: usize) -> Result<(), String> {
        let server = &mut self.servers[node];
        if let Some(end) = server.unasked_end() {
            return Err(format!("node {node} {end}"));
        }
        self.figures.add_named(trouble.as_str());
        self.diary.note(format!("{} {node}", trouble.as_str()));
        let is_remembered = trouble == NodeTrouble::Stop;
        self.ledger.is_absent(Absence { node, begun: self.ledger.now(), is_remembered });
        match trouble {
            NodeTrouble::Stop => {
                server.signal(Signal::STOP)?;
                sleep(standstill(rng)).await;
                server.signal(Signal::CONT)?;
            }
            NodeTrouble::Kill => server.kill().await?,
            NodeTrouble::Skew => {
                server.kill().await?;
                let skews = self.figures.named(trouble.as_str());
                let offset = CLOCK_OFFSETS[(skews as usize - 1) % CLOCK_OFFSETS.len()];
                self.diary.note(format!("the clock of node {node} is {offset} off"));
                server.set_clock_offset(offset)?;
            }
            NodeTrouble::Terminate => server.terminate().await.map_err(|how| format!("node {node} {how}"))?,
        }
        if !is_remembered {
            sleep(millis(rng, 0, 400)).await;
            server.start_again()?;
        }
        self.diary.note(format!("node {node} goes on"));
        Ok(())
    }
}

/// Two Redis, of which one follows the other, and the address that leads to the first.
pub(super) struct Site {
    pub(super) primary: Redis,
    pub(super) replica: Redis,
    pub(super) gate: Gate,
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) figures: Arc<Figures>,
    pub(super) diary: Arc<Diary>,
}

impl Site {
    /// Makes trouble until then: of those that lose something, and of those that do not, each once before one comes again.
    ///
    /// # Errors
    /// What could not be done.
    pub(super) async fn trouble(
        &mut self,
        mut rng: StdRng,
        until: Moment,
        loses: bool,
    ) -> Result<(), String> {
        let (mut harmless, mut lossy) = (Vec::new(), Vec::new());
        // What it is about comes in any case, though it take longer.
        let mut missing = RedisTrouble::of(loses).to_vec();
        loop {
            sleep(millis(&mut rng, 50, 2000)).await;
            let is_over = self.ledger.now() >= until;
            if is_over && missing.is_empty() {
                return Ok(());
            }
            let draws_lossy = loses && rng.random_bool(0.7);
            let bag = if draws_lossy { &mut lossy } else { &mut harmless };
            if bag.is_empty() {
                bag.extend_from_slice(RedisTrouble::of(draws_lossy));
            }
            let drawn = bag.swap_remove(rng.random_range(0..bag.len()));
            let trouble = if is_over { missing[0] } else { drawn };
            missing.retain(|other| *other != trouble);
            self.figures.add_named(trouble.as_str());
            self.diary.note(trouble.as_str());
            self.make(&mut rng, trouble).await.map_err(|why| format!("{}: {why}", trouble.as_str()))?;
            self.diary.note(format!("{}: done", trouble.as_str()));
        }
    }

    async fn make(&mut self, rng: &mut StdRng, trouble: RedisTrouble) -> Result<(), String> {
        match trouble {
            RedisTrouble::CutCalls => self.cut("normal").await,
            RedisTrouble::CutPubSub => self.cut("pubsub").await,
            RedisTrouble::HalfOpen => {
                self.gate.forget();
                Ok(())
            }
            RedisTrouble::Stop => {
                self.primary.signal(Signal::STOP)?;
                sleep(standstill(rng)).await;
                self.primary.signal(Signal::CONT)
            }
            RedisTrouble::Sleep => {
                self.primary.say_and_go(&["DEBUG", "SLEEP", "5"]).await?;
                sleep(Duration::from_millis(5200)).await;
                Ok(())
            }
            RedisTrouble::Restart => {
                self.primary.kill().await?;
                sleep(millis(rng, 0, 500)).await;
                self.primary.restart().await
            }
            RedisTrouble::Failover => self.fail_over(rng).await,
            RedisTrouble::ThereAndBack => self.there_and_back().await,
            RedisTrouble::RestartEmpty => {
                self.primary.kill().await?;
                self.lose(trouble, self.ledger.now(), BTreeSet::new());
                sleep(millis(rng, 0, 500)).await;
                self.primary.restart_empty().await
            }
            RedisTrouble::Flush => {
                let begun = self.ledger.now();
                self.primary.say(&["FLUSHALL"]).await?;
                self.lose(trouble, begun, BTreeSet::new());
                Ok(())
            }
            RedisTrouble::Full => self.fill(rng).await,
            RedisTrouble::Evict => {
                let key = EVICTED[rng.random_range(0..EVICTED.len())];
                let begun = self.ledger.now();
                self.diary.note(format!("{key} is deleted"));
                self.primary.say(&["DEL", key]).await?;
                // The nodes begin the log anew, as after `FLUSHALL`.
                self.lose(trouble, begun, BTreeSet::new());
                Ok(())
            }
            RedisTrouble::EvictLog => self.evict_log().await,
            RedisTrouble::LossyFailover => self.fail_over_lossy(rng).await,
            RedisTrouble::LossyThereAndBack => self.there_and_back_lossy(rng).await,
        }
    }

    /// Lets Redis take nothing more for some seconds. Meanwhile a node that is up still answers reads.
    async fn fill(&self, rng: &mut StdRng) -> Result<(), String> {
        self.primary.say(&["CONFIG", "SET", "maxmemory", "1"]).await?;
        // Each node has to read where the log stands from a Redis that is full.
        self.cut("normal").await?;
        let until = Instant::now() + millis(rng, 3000, 6000);
        // What was asked of Redis before it was full has its answer by then.
        sleep(Duration::from_secs(1)).await;
        let mut answers = BTreeSet::new();
        let mut is_read = false;
        while Instant::now() < until {
            for node in &self.nodes {
                let asked = timeout(PROBE_DEADLINE, http::get(*node, PROBED)).await;
                let status = asked.ok().and_then(Result::ok).map(|(status, _)| status);
                is_read |= status == Some(200);
                answers.extend(status);
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.primary.say(&["CONFIG", "SET", "maxmemory", "0"]).await?;
        if !is_read {
            self.figures.add_named(BLIND);
            self.diary.note(format!("no node answered {PROBED} while redis was full: {answers:?}"));
        }
        Ok(())
    }

    async fn cut(&self, kind: &str) -> Result<(), String> {
        self.primary.say(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await.map(drop)
    }

    /// Notes a loss, before anything new can be stored.
    fn lose(&self, trouble: RedisTrouble, begun: Moment, kept: BTreeSet<super::ledger::Place>) {
        let ended = self.ledger.now();
        self.diary.note(format!("{}: {} events are left", trouble.as_str(), kept.len()));
        let (what, reasons) = (trouble.as_str(), &REASONS[..]);
        self.ledger.lose(Loss { what, reasons, trimmed: None, begun, ended, kept });
    }

    /// Deletes the log. Where it stands is in another key: it goes on there.
    async fn evict_log(&self) -> Result<(), String> {
        let begun = self.ledger.now();
        let trimmed = log::evict(&self.primary).await?;
        let (ended, what) = (self.ledger.now(), RedisTrouble::EvictLog.as_str());
        self.diary.note(format!("{what}: events up to {trimmed} are gone"));
        let (reasons, kept) = (&TRIM_REASONS[..], BTreeSet::new());
        self.ledger.lose(Loss { what, reasons, trimmed: Some(trimmed), begun, ended, kept });
        Ok(())
    }

    /// Lets nobody write until the replica has everything, and promotes it. The primary is read-only from then on.
    async fn promote_in_step(&self) -> Result<(), String> {
        self.replica.is_in_step().await?;
        self.primary.say(&["CLIENT", "PAUSE", STANDSTILL, "WRITE"]).await?;
        while self.primary.replicated().await? != self.replica.replicated().await? {
            sleep(Duration::from_millis(5)).await;
        }
        self.replica.promote().await?;
        self.primary.begin_to_follow(&self.replica).await?;
        self.primary.say(&["CLIENT", "UNPAUSE"]).await.map(drop)
    }

    async fn fail_over(&mut self, rng: &mut StdRng) -> Result<(), String> {
        self.promote_in_step().await?;
        if rng.random_bool(0.5) {
            self.primary.kill().await?;
        }
        sleep(millis(rng, 0, 300)).await;
        self.turn().await
    }

    /// Leads the address to the replica, and makes the primary its replica.
    async fn turn(&mut self) -> Result<(), String> {
        self.gate.turn_to(self.replica.address());
        std::mem::swap(&mut self.primary, &mut self.replica);
        if !self.replica.is_running() {
            self.replica.restart_empty().await?;
        }
        self.replica.follow(&self.primary).await
    }

    async fn there_and_back(&self) -> Result<(), String> {
        self.promote_in_step().await?;
        self.primary.is_in_step().await?;
        self.primary.promote().await?;
        self.replica.follow(&self.primary).await
    }

    async fn fail_over_lossy(&mut self, rng: &mut StdRng) -> Result<(), String> {
        self.replica.is_in_step().await?;
        // From here on it hears nothing of what the primary takes.
        self.replica.promote().await?;
        sleep(millis(rng, 50, 1500)).await;
        let begun = self.ledger.now();
        if rng.random_bool(0.7) {
            self.primary.kill().await?;
        }
        sleep(millis(rng, 0, 300)).await;
        let kept = log::places(&self.replica).await?;
        self.lose(RedisTrouble::LossyFailover, begun, kept);
        self.turn().await
    }

    async fn there_and_back_lossy(&self, rng: &mut StdRng) -> Result<(), String> {
        self.replica.is_in_step().await?;
        self.replica.promote().await?;
        sleep(millis(rng, 50, 1500)).await;
        let kept = log::places(&self.replica).await?;
        let begun = self.ledger.now();
        self.primary.follow(&self.replica).await?;
        self.lose(RedisTrouble::LossyThereAndBack, begun, kept);
        self.primary.promote().await?;
        self.replica.follow(&self.primary).await
    }
}

/// Seldom longer than anybody waits.
fn standstill(rng: &mut StdRng) -> Duration {
    let most = if rng.random_bool(0.2) { 7000 } else { 1500 };
    millis(rng, 200, most)
}

fn millis(rng: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..=to))
}
