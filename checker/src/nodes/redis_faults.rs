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

use super::history::{InjectedLoss, OperationHistory, PhaseTime, TaggedOffset};
use super::redis_calls::{call_redis, command, follow};
use super::redis_log;
use crate::counters::Counters;
use crate::http;
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
/// Request that a node answers while Redis is full.
const PROBE: &str = "/api/v1/channels/nodes.a.0/events?limit=1";
const PROBE_DEADLINE: Duration = Duration::from_millis(500);
/// Name of the count of times in which Redis could be read and no node could.
pub(super) const BLIND: &str = "nodes blind";

/// A fault of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RedisFault {
    CutCalls,
    CutPubSub,
    HalfOpen,
    Stop,
    Sleep,
    Restart,
    Failover,
    ThereAndBack,
    Full,
    // The faults below lose entries.
    RestartEmpty,
    Flush,
    LossyFailover,
    LossyThereAndBack,
    Evict,
    /// Deletes the log, which continues as after a trim.
    EvictLog,
}

impl RedisFault {
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
    /// Number of faults that lose no entry; they come first.
    const HARMLESS: usize = 9;

    /// Faults that lose entries, or those that do not.
    pub(super) fn of(loses: bool) -> &'static [Self] {
        const SORTED: (&[RedisFault], &[RedisFault]) = RedisFault::ALL.split_at(RedisFault::HARMLESS);
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

/// A primary with its replica, and the address that leads to the primary.
pub(super) struct RedisPair {
    pub(super) primary: Arc<RedisServer>,
    pub(super) replica: Arc<RedisServer>,
    pub(super) proxy: TcpProxy,
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) history: Arc<OperationHistory>,
    pub(super) counters: Arc<Counters>,
}

impl RedisPair {
    /// Injects faults until `until`: of those that lose entries, and of those that do not, each once before one repeats.
    ///
    /// # Errors
    /// A fault could not be injected.
    pub(super) async fn inject(
        &mut self,
        mut rng: StdRng,
        until: PhaseTime,
        loses: bool,
    ) -> Result<(), String> {
        let (mut harmless, mut lossy) = (Vec::new(), Vec::new());
        // Every fault of the phase is injected, also after `until`.
        let mut missing = RedisFault::of(loses).to_vec();
        loop {
            sleep(millis(&mut rng, 50, 2000)).await;
            let is_over = self.history.now() >= until;
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
            self.counters.increment(fault.as_str());
            self.history.note(fault.as_str());
            self.inject_one(&mut rng, fault).await.map_err(|error| format!("{}: {error}", fault.as_str()))?;
            self.history.note(format!("{}: done", fault.as_str()));
        }
    }

    async fn inject_one(&mut self, rng: &mut StdRng, fault: RedisFault) -> Result<(), String> {
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
                self.add_loss(fault, self.history.now(), BTreeSet::new());
                sleep(millis(rng, 0, 500)).await;
                call_redis(&self.primary, RedisServer::restart_empty).await
            }
            RedisFault::Flush => {
                let begun = self.history.now();
                call_redis(&self.primary, |redis| command(redis, &["FLUSHALL"])).await?;
                self.add_loss(fault, begun, BTreeSet::new());
                Ok(())
            }
            RedisFault::Full => self.fill(rng).await,
            RedisFault::Evict => {
                let key = EVICTED[rng.random_range(0..EVICTED.len())];
                let begun = self.history.now();
                self.history.note(format!("{key} is deleted"));
                call_redis(&self.primary, move |redis| command(redis, &["DEL", key])).await?;
                // The nodes begin the log again, as after `FLUSHALL`.
                self.add_loss(fault, begun, BTreeSet::new());
                Ok(())
            }
            RedisFault::EvictLog => self.evict_log().await,
            RedisFault::LossyFailover => self.fail_over_lossy(rng).await,
            RedisFault::LossyThereAndBack => self.there_and_back_lossy(rng).await,
        }
    }

    /// Makes Redis refuse writes for some seconds. Meanwhile a running node still answers reads.
    async fn fill(&self, rng: &mut StdRng) -> Result<(), String> {
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
            self.counters.increment(BLIND);
            self.history.note(format!("no node answered {PROBE} while redis was full: {statuses:?}"));
        }
        Ok(())
    }

    /// Closes the connections of a type: `normal` or `pubsub`.
    async fn cut(&self, kind: &'static str) -> Result<(), String> {
        call_redis(&self.primary, move |redis| redis.client_kill(kind)).await.map(drop)
    }

    /// Records a loss before any new entry can be stored.
    fn add_loss(&self, fault: RedisFault, begun: PhaseTime, kept: BTreeSet<TaggedOffset>) {
        let ended = self.history.now();
        self.history.note(format!("{}: {} events are left", fault.as_str(), kept.len()));
        let (fault, reasons) = (fault.as_str(), &LOSS_REASONS[..]);
        self.history.add_loss(InjectedLoss { fault, reasons, trimmed: None, begun, ended, kept });
    }

    /// Deletes the log. Its head is in another key, so the log continues there.
    async fn evict_log(&self) -> Result<(), String> {
        let begun = self.history.now();
        let trimmed = call_redis(&self.primary, redis_log::evict).await?;
        let (ended, fault) = (self.history.now(), RedisFault::EvictLog.as_str());
        self.history.note(format!("{fault}: events up to {trimmed} are gone"));
        let (reasons, kept) = (&TRIM_REASONS[..], BTreeSet::new());
        self.history.add_loss(InjectedLoss { fault, reasons, trimmed: Some(trimmed), begun, ended, kept });
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

    async fn fail_over_lossy(&mut self, rng: &mut StdRng) -> Result<(), String> {
        self.split_replica(rng).await?;
        let begun = self.history.now();
        if rng.random_bool(0.7) {
            call_redis(&self.primary, RedisServer::kill).await?;
        }
        sleep(millis(rng, 0, 300)).await;
        let kept = call_redis(&self.replica, redis_log::places).await?;
        self.add_loss(RedisFault::LossyFailover, begun, kept);
        self.swap().await
    }

    async fn there_and_back_lossy(&self, rng: &mut StdRng) -> Result<(), String> {
        self.split_replica(rng).await?;
        let kept = call_redis(&self.replica, redis_log::places).await?;
        let begun = self.history.now();
        let replica = Arc::clone(&self.replica);
        call_redis(&self.primary, move |primary| follow(primary, &replica)).await?;
        self.add_loss(RedisFault::LossyThereAndBack, begun, kept);
        let replica = Arc::clone(&self.replica);
        call_redis(&self.primary, move |primary| {
            primary.promote();
            follow(&replica, primary);
        })
        .await
    }
}
