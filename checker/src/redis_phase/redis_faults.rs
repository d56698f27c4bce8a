//! Faults of Redis: cut and half-open connections, stops, restarts, failovers, a full memory and losses.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use tidings_protocol::body::GapReason;
use tidings_testkit::{RedisServer, TcpProxy};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::redis_log::{self, command, follow};
use crate::client_context::PROBE;
use crate::counters::Counters;
use crate::history::{History, InjectedLoss, LogPosition, PhaseTime};
use crate::http;
use crate::named_enum::named_enum;
use crate::random::{draw_stop, millis};

/// Milliseconds for which writes pause while a replica catches up.
const WRITE_PAUSE: &str = "8000";
/// Keys without which the log begins again.
const EVICTED: [&str; 2] = ["{tidings}:epochs", "{tidings}:meta"];
/// Gap reasons of a loss. An open stream is told `lagged` if its node has passed the lost entries.
const LOSS_REASONS: [GapReason; 4] =
    [GapReason::Epoch, GapReason::Diverged, GapReason::Ahead, GapReason::Lagged];
/// Gap reasons of a trim.
const TRIM_REASONS: [GapReason; 2] = [GapReason::Trimmed, GapReason::Lagged];
const PROBE_DEADLINE: Duration = Duration::from_millis(500);
/// Name of the count of times in which Redis could be read and no node could.
pub(super) const BLIND: &str = "nodes blind";

named_enum! {
    /// A fault of Redis.
    pub(super) enum RedisFault {
        CutCalls = "CLIENT KILL",
        CutPubSub = "same, of Pub/Sub",
        HalfOpen = "half-open",
        Stop = "redis stopped",
        Sleep = "DEBUG SLEEP 5",
        Restart = "restart with data",
        Failover = "failover in step",
        ThereAndBack = "there and back",
        Full = "redis full",
        // The faults below lose entries.
        RestartEmpty = "restart, no data",
        Flush = "FLUSHALL",
        LossyFailover = "lossy failover",
        LossyThereAndBack = "same, there and back",
        Evict = "key evicted",
        /// Deletes the log, which continues as after a trim.
        EvictLog = "log evicted",
    }
}

impl RedisFault {
    /// Number of faults that lose no entry; they come first.
    const HARMLESS: usize = 9;

    /// Faults that lose entries, or those that do not.
    pub(super) fn of(loses: bool) -> &'static [Self] {
        const SORTED: (&[RedisFault], &[RedisFault]) = RedisFault::ALL.split_at(RedisFault::HARMLESS);
        if loses { SORTED.1 } else { SORTED.0 }
    }
}

/// A primary with its replica, and the address that leads to the primary. Its calls block their thread, and panic if Redis
/// fails.
pub(super) struct RedisPair {
    pub(super) primary: RedisServer,
    pub(super) replica: RedisServer,
    pub(super) proxy: TcpProxy,
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) history: Arc<History>,
    pub(super) counters: Arc<Counters>,
}

impl RedisPair {
    /// Injects faults until `until`: of those that lose entries, and of those that do not, each once before one repeats.
    pub(super) fn inject(&mut self, mut rng: StdRng, until: PhaseTime, loses: bool) {
        let (mut harmless, mut lossy) = (Vec::new(), Vec::new());
        // Every fault of the phase is injected, also after `until`.
        let mut missing = RedisFault::of(loses).to_vec();
        loop {
            sleep(millis(&mut rng, 50, 2000));
            let is_over = self.history.now() >= until;
            if is_over && missing.is_empty() {
                return;
            }
            let draws_lossy = loses && rng.random_bool(0.7);
            let bag = if draws_lossy { &mut lossy } else { &mut harmless };
            if bag.is_empty() {
                bag.extend_from_slice(RedisFault::of(draws_lossy));
            }
            let drawn = bag.swap_remove(rng.random_range(0..bag.len()));
            let fault = if is_over { missing[0] } else { drawn };
            missing.retain(|other| *other != fault);
            self.counters.increment(fault.as_str());
            self.history.note(fault.as_str());
            self.inject_one(&mut rng, fault);
            self.history.note(format!("{}: done", fault.as_str()));
        }
    }

    fn inject_one(&mut self, rng: &mut StdRng, fault: RedisFault) {
        let begun = self.history.now();
        match fault {
            RedisFault::CutCalls => drop(self.primary.client_kill("normal")),
            RedisFault::CutPubSub => drop(self.primary.client_kill("pubsub")),
            RedisFault::HalfOpen => self.proxy.discard_open(),
            RedisFault::Stop => {
                self.primary.pause();
                sleep(draw_stop(rng));
                self.primary.resume();
            }
            RedisFault::Sleep => {
                let sent = self.primary.connect().send(&["DEBUG", "SLEEP", "5"]);
                sent.expect("Redis takes a command");
                sleep(Duration::from_millis(5200));
            }
            RedisFault::Restart => {
                self.primary.kill();
                sleep(millis(rng, 0, 500));
                self.primary.restart();
            }
            RedisFault::RestartEmpty => {
                self.primary.kill();
                self.add_loss(fault, self.history.now(), BTreeSet::new());
                sleep(millis(rng, 0, 500));
                self.primary.restart_empty();
            }
            RedisFault::Flush => {
                command(&self.primary, &["FLUSHALL"]);
                self.add_loss(fault, begun, BTreeSet::new());
            }
            RedisFault::Full => self.fill(rng),
            RedisFault::Evict => {
                let key = EVICTED[rng.random_range(0..EVICTED.len())];
                self.history.note(format!("{key} is deleted"));
                command(&self.primary, &["DEL", key]);
                // The nodes begin the log again, as after `FLUSHALL`.
                self.add_loss(fault, begun, BTreeSet::new());
            }
            RedisFault::EvictLog => self.evict_log(begun),
            RedisFault::Failover | RedisFault::LossyFailover => self.fail_over(rng, fault),
            RedisFault::ThereAndBack => {
                self.promote_in_step();
                self.primary.wait_for_primary();
                self.primary.promote();
                follow(&self.replica, &self.primary);
            }
            RedisFault::LossyThereAndBack => {
                self.split_replica(rng);
                let kept = redis_log::positions(&self.replica);
                let begun = self.history.now();
                follow(&self.primary, &self.replica);
                self.add_loss(fault, begun, kept);
                self.primary.promote();
                follow(&self.replica, &self.primary);
            }
        }
    }

    /// Makes Redis refuse writes for some seconds. Meanwhile a running node still answers reads.
    fn fill(&self, rng: &mut StdRng) {
        let set_maxmemory = |bytes| command(&self.primary, &["CONFIG", "SET", "maxmemory", bytes]);
        set_maxmemory("1");
        // Each node then reads the head of the log from a full Redis.
        self.primary.client_kill("normal");
        let until = Instant::now() + millis(rng, 3000, 6000);
        // Requests from before have their replies by then.
        sleep(Duration::from_secs(1));
        let mut statuses = BTreeSet::new();
        while Instant::now() < until {
            for node in &self.nodes {
                let probe = async { timeout(PROBE_DEADLINE, http::get(*node, PROBE)).await };
                let response = Handle::current().block_on(probe);
                statuses.extend(response.ok().and_then(Result::ok).map(|(status, _)| status));
            }
            sleep(Duration::from_millis(50));
        }
        set_maxmemory("0");
        if !statuses.contains(&200) {
            self.counters.increment(BLIND);
            self.history.note(format!("no node answered {PROBE} while redis was full: {statuses:?}"));
        }
    }

    /// Records a loss before any new entry can be stored.
    fn add_loss(&self, fault: RedisFault, begun: PhaseTime, kept: BTreeSet<LogPosition>) {
        let (fault, ended) = (fault.as_str(), self.history.now());
        self.history.note(format!("{fault}: {} events are left", kept.len()));
        let reasons = &LOSS_REASONS;
        self.history.add_loss(InjectedLoss { fault, reasons, trimmed: None, begun, ended, kept });
    }

    /// Deletes the log. Its head is in another key, so the log continues there.
    fn evict_log(&self, begun: PhaseTime) {
        let trimmed = redis_log::evict(&self.primary);
        let (ended, fault) = (self.history.now(), RedisFault::EvictLog.as_str());
        self.history.note(format!("{fault}: events up to {trimmed} are gone"));
        let (reasons, kept) = (&TRIM_REASONS, BTreeSet::new());
        self.history.add_loss(InjectedLoss { fault, reasons, trimmed: Some(trimmed), begun, ended, kept });
    }

    /// Pauses writes until the replica has every entry, and promotes it. The primary then follows it.
    fn promote_in_step(&self) {
        let (primary, replica) = (&self.primary, &self.replica);
        replica.wait_for_primary();
        command(primary, &["CLIENT", "PAUSE", WRITE_PAUSE, "WRITE"]);
        while primary.info("master_repl_offset") != replica.info("master_repl_offset") {
            sleep(Duration::from_millis(5));
        }
        replica.promote();
        command(primary, &["REPLICAOF", "127.0.0.1", &replica.port().to_string()]);
        command(primary, &["CLIENT", "UNPAUSE"]);
    }

    /// Promotes the replica, which receives no further entry of the primary.
    fn split_replica(&self, rng: &mut StdRng) {
        self.replica.wait_for_primary();
        self.replica.promote();
        sleep(millis(rng, 50, 1500));
    }

    /// Redirects the address to the promoted replica, and makes the old primary its replica.
    fn fail_over(&mut self, rng: &mut StdRng, fault: RedisFault) {
        let is_lossy = fault == RedisFault::LossyFailover;
        if is_lossy {
            self.split_replica(rng);
        } else {
            self.promote_in_step();
        }
        let begun = self.history.now();
        if rng.random_bool(if is_lossy { 0.7 } else { 0.5 }) {
            self.primary.kill();
        }
        sleep(millis(rng, 0, 300));
        if is_lossy {
            self.add_loss(fault, begun, redis_log::positions(&self.replica));
        }
        self.proxy.redirect_to(self.replica.address());
        std::mem::swap(&mut self.primary, &mut self.replica);
        if !self.replica.is_running() {
            self.replica.restart_empty();
        }
        follow(&self.replica, &self.primary);
    }
}
