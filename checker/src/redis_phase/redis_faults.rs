//! Faults of Redis: cut and half-open connections, stops, restarts, failovers, a full memory and losses.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tidings_protocol::body::GapReason;
use tidings_testkit::{RedisServer, TcpProxy};
use tokio::time::{Instant, sleep, timeout};

use super::redis_log::{self, call_redis, command, follow};
use crate::client_context::PROBE;
use crate::history::{History, InjectedLoss, LogPosition, PhaseTime};
use crate::http;
use crate::named_enum::named_enum;
use crate::phase::PhaseRun;
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

/// A primary with its replica, and the address that leads to the primary.
pub(super) struct RedisPair {
    pub(super) primary: Arc<RedisServer>,
    pub(super) replica: Arc<RedisServer>,
    pub(super) proxy: TcpProxy,
    pub(super) nodes: Vec<SocketAddr>,
}

impl RedisPair {
    /// Injects faults until `until`: of those that lose entries, and of those that do not, each once before one repeats.
    pub(super) async fn inject(
        &mut self,
        run: &PhaseRun,
        mut rng: StdRng,
        until: PhaseTime,
        loses: bool,
    ) -> Result<(), String> {
        let (mut harmless, mut lossy) = (Vec::new(), Vec::new());
        // Every fault of the phase is injected, also after `until`.
        let mut missing = RedisFault::of(loses).to_vec();
        loop {
            sleep(millis(&mut rng, 50, 2000)).await;
            let is_over = run.history.now() >= until;
            if is_over && missing.is_empty() {
                return Ok(());
            }
            let draws_lossy = loses && rng.random_bool(0.7);
            let bag = if draws_lossy { &mut lossy } else { &mut harmless };
            if bag.is_empty() {
                bag.extend_from_slice(RedisFault::of(draws_lossy));
            }
            let drawn = bag.swap_remove(rng.random_range(0..bag.len()));
            let fault = if is_over { missing[0] } else { drawn };
            missing.retain(|other| *other != fault);
            run.counters.increment(fault.as_str());
            run.history.note(fault.as_str());
            self.inject_one(run, &mut rng, fault)
                .await
                .map_err(|error| format!("{}: {error}", fault.as_str()))?;
            run.history.note(format!("{}: done", fault.as_str()));
        }
    }

    async fn inject_one(
        &mut self,
        run: &PhaseRun,
        rng: &mut StdRng,
        fault: RedisFault,
    ) -> Result<(), String> {
        match fault {
            RedisFault::CutCalls => self.cut("normal").await,
            RedisFault::CutPubSub => self.cut("pubsub").await,
            RedisFault::HalfOpen => {
                self.proxy.discard_open();
                Ok(())
            }
            RedisFault::Stop => {
                self.primary.pause();
                sleep(draw_stop(rng)).await;
                self.primary.resume();
                Ok(())
            }
            RedisFault::Sleep => {
                call_redis(&self.primary, |redis| redis.connect().send(&["DEBUG", "SLEEP", "5"]))
                    .await?
                    .map_err(|error| error.to_string())?;
                sleep(Duration::from_millis(5200)).await;
                Ok(())
            }
            RedisFault::Restart => {
                call_redis(&self.primary, RedisServer::kill).await?;
                sleep(millis(rng, 0, 500)).await;
                call_redis(&self.primary, RedisServer::restart).await
            }
            RedisFault::Failover => self.fail_over(rng).await,
            RedisFault::ThereAndBack => self.there_and_back().await,
            RedisFault::RestartEmpty => {
                call_redis(&self.primary, RedisServer::kill).await?;
                add_loss(&run.history, fault, run.history.now(), BTreeSet::new());
                sleep(millis(rng, 0, 500)).await;
                call_redis(&self.primary, RedisServer::restart_empty).await
            }
            RedisFault::Flush => {
                let begun = run.history.now();
                call_redis(&self.primary, |redis| command(redis, &["FLUSHALL"])).await?;
                add_loss(&run.history, fault, begun, BTreeSet::new());
                Ok(())
            }
            RedisFault::Full => self.fill(run, rng).await,
            RedisFault::Evict => {
                let key = EVICTED[rng.random_range(0..EVICTED.len())];
                let begun = run.history.now();
                run.history.note(format!("{key} is deleted"));
                call_redis(&self.primary, move |redis| command(redis, &["DEL", key])).await?;
                // The nodes begin the log again, as after `FLUSHALL`.
                add_loss(&run.history, fault, begun, BTreeSet::new());
                Ok(())
            }
            RedisFault::EvictLog => self.evict_log(run).await,
            RedisFault::LossyFailover => self.fail_over_lossy(run, rng).await,
            RedisFault::LossyThereAndBack => self.there_and_back_lossy(run, rng).await,
        }
    }

    /// Makes Redis refuse writes for some seconds. Meanwhile a running node still answers reads.
    async fn fill(&self, run: &PhaseRun, rng: &mut StdRng) -> Result<(), String> {
        let set_maxmemory = |bytes| {
            move |redis: &RedisServer| {
                command(redis, &["CONFIG", "SET", "maxmemory", bytes]);
            }
        };
        call_redis(&self.primary, set_maxmemory("1")).await?;
        // Each node then reads the head of the log from a full Redis.
        self.cut("normal").await?;
        let until = Instant::now() + millis(rng, 3000, 6000);
        // Requests from before have their replies by then.
        sleep(Duration::from_secs(1)).await;
        let mut statuses = BTreeSet::new();
        let mut is_read = false;
        while Instant::now() < until {
            for node in &self.nodes {
                let outcome = timeout(PROBE_DEADLINE, http::get(*node, PROBE)).await;
                let status = outcome.ok().and_then(Result::ok).map(|(status, _)| status);
                is_read |= status == Some(200);
                statuses.extend(status);
            }
            sleep(Duration::from_millis(50)).await;
        }
        call_redis(&self.primary, set_maxmemory("0")).await?;
        if !is_read {
            run.counters.increment(BLIND);
            run.history.note(format!("no node answered {PROBE} while redis was full: {statuses:?}"));
        }
        Ok(())
    }

    /// Closes the connections of a type: `normal` or `pubsub`.
    async fn cut(&self, kind: &'static str) -> Result<(), String> {
        call_redis(&self.primary, move |redis| redis.client_kill(kind)).await.map(drop)
    }

    /// Deletes the log. Its head is in another key, so the log continues there.
    async fn evict_log(&self, run: &PhaseRun) -> Result<(), String> {
        let begun = run.history.now();
        let trimmed = call_redis(&self.primary, redis_log::evict).await?;
        let (ended, fault) = (run.history.now(), RedisFault::EvictLog.as_str());
        run.history.note(format!("{fault}: events up to {trimmed} are gone"));
        let (reasons, kept) = (&TRIM_REASONS[..], BTreeSet::new());
        run.history.add_loss(InjectedLoss { fault, reasons, trimmed: Some(trimmed), begun, ended, kept });
        Ok(())
    }

    /// Pauses writes until the replica has every entry, and promotes it. The primary then follows it.
    async fn promote_in_step(&self) -> Result<(), String> {
        let replica = Arc::clone(&self.replica);
        call_redis(&self.primary, move |primary| {
            replica.wait_for_primary();
            command(primary, &["CLIENT", "PAUSE", WRITE_PAUSE, "WRITE"]);
            while primary.info("master_repl_offset") != replica.info("master_repl_offset") {
                std::thread::sleep(Duration::from_millis(5));
            }
            replica.promote();
            let port = replica.port().to_string();
            command(primary, &["REPLICAOF", "127.0.0.1", &port]);
            command(primary, &["CLIENT", "UNPAUSE"]);
        })
        .await
    }

    async fn fail_over(&mut self, rng: &mut StdRng) -> Result<(), String> {
        self.promote_in_step().await?;
        if rng.random_bool(0.5) {
            call_redis(&self.primary, RedisServer::kill).await?;
        }
        sleep(millis(rng, 0, 300)).await;
        self.swap().await
    }

    /// Redirects the address to the replica, and makes the old primary its replica.
    async fn swap(&mut self) -> Result<(), String> {
        self.proxy.redirect_to(self.replica.address());
        std::mem::swap(&mut self.primary, &mut self.replica);
        let primary = Arc::clone(&self.primary);
        call_redis(&self.replica, move |replica| {
            if !replica.is_running() {
                replica.restart_empty();
            }
            follow(replica, &primary);
        })
        .await
    }

    async fn there_and_back(&self) -> Result<(), String> {
        self.promote_in_step().await?;
        let replica = Arc::clone(&self.replica);
        call_redis(&self.primary, move |primary| {
            primary.wait_for_primary();
            primary.promote();
            follow(&replica, primary);
        })
        .await
    }

    /// Promotes the replica, which receives no further entry of the primary.
    async fn split_replica(&self, rng: &mut StdRng) -> Result<(), String> {
        call_redis(&self.replica, |replica| {
            replica.wait_for_primary();
            replica.promote();
        })
        .await?;
        sleep(millis(rng, 50, 1500)).await;
        Ok(())
    }

    async fn fail_over_lossy(&mut self, run: &PhaseRun, rng: &mut StdRng) -> Result<(), String> {
        self.split_replica(rng).await?;
        let begun = run.history.now();
        if rng.random_bool(0.7) {
            call_redis(&self.primary, RedisServer::kill).await?;
        }
        sleep(millis(rng, 0, 300)).await;
        let kept = call_redis(&self.replica, redis_log::positions).await?;
        add_loss(&run.history, RedisFault::LossyFailover, begun, kept);
        self.swap().await
    }

    async fn there_and_back_lossy(&self, run: &PhaseRun, rng: &mut StdRng) -> Result<(), String> {
        self.split_replica(rng).await?;
        let kept = call_redis(&self.replica, redis_log::positions).await?;
        let begun = run.history.now();
        let replica = Arc::clone(&self.replica);
        call_redis(&self.primary, move |primary| follow(primary, &replica)).await?;
        add_loss(&run.history, RedisFault::LossyThereAndBack, begun, kept);
        let replica = Arc::clone(&self.replica);
        call_redis(&self.primary, move |primary| {
            primary.promote();
            follow(&replica, primary);
        })
        .await
    }
}

/// Records a loss before any new entry can be stored.
fn add_loss(history: &History, fault: RedisFault, begun: PhaseTime, kept: BTreeSet<LogPosition>) {
    let (fault, ended) = (fault.as_str(), history.now());
    history.note(format!("{fault}: {} events are left", kept.len()));
    let reasons = &LOSS_REASONS;
    history.add_loss(InjectedLoss { fault, reasons, trimmed: None, begun, ended, kept });
}
