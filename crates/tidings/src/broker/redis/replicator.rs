//! Replicates the log in Redis: reads missing entries, detects losses and forks, and passes new entries to the hub.

pub(super) mod losses;

use std::{io, pin::pin, sync::Arc, time::Duration};

use tidings_log::{ApplyError, Log, LostChannels, ReplicatedEntry};
use tidings_protocol::{Epoch, Tag};
use tidings_redis::RedisError;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use self::losses::{LossDetector, unreported_loss};
use super::append_call::LastSeen;
use super::commands::{RedisLog, SILENCE, silence_error, within_silence};
use super::epochs::{BeginOutcome, EpochStart, NewEpoch, RedisHead};
use super::shared_table::replica::TableReplica;
use super::sync_state::{SyncPart, SyncState};
use crate::{broker::api::DeliverySink, metrics::Metrics};

/// Interval of reconciliations, and the longest wait for new entries.
const CHECK: Duration = Duration::from_secs(3);
const BLOCK: Duration = Duration::from_secs(1);
/// Pause before a reconnect: the first one, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Difference of the clocks of this machine and Redis above which the node trims no entry by age.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);

/// Task that keeps a node's log equal to the log in Redis.
pub(crate) struct Replicator {
    pub(super) redis_log: Arc<RedisLog>,
    pub(super) log: Arc<Log>,
    pub(super) sync_state: Arc<SyncState>,
    pub(super) sink: Arc<dyn DeliverySink>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) random: fn() -> u64,
    pub(super) shared: Arc<TableReplica>,
}

/// Reason why replication stopped.
#[derive(Debug)]
pub(super) enum ReplicationEnd {
    Fault(RedisError),
    /// Redis has more entries, and none arrives.
    StoodStill {
        at: u64,
        head: u64,
    },
    Misplaced(ApplyError),
}

impl From<RedisError> for ReplicationEnd {
    fn from(fault: RedisError) -> Self {
        Self::Fault(fault)
    }
}

impl std::fmt::Display for ReplicationEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::StoodStill { at, head } => {
                write!(f, "no entry came after {at}, though redis has {head}")
            }
            Self::Misplaced(misplaced) => misplaced.fmt(f),
        }
    }
}

impl Replicator {
    /// Replicates until the future is dropped.
    pub(crate) async fn run(self) {
        let mut requests = self.sync_state.reconcile_requests();
        let mut pause = PAUSES.0;
        let mut is_first = true;
        loop {
            let begun = Instant::now();
            let Err(ended) = self.follow(&mut requests).await;
            self.redis_log.drop_idle();
            self.log.barriers().mark_disconnected();
            let was_read = self.sync_state.mark_unhealthy(SyncPart::Read, ended.to_string());
            if was_read {
                self.metrics.broker.disconnects.inc();
            }
            // A node that starts without Redis has to say why it is not ready.
            if was_read || is_first {
                warn!(reason = %ended, "redis does not answer; streams stay open, publishes fail, and the hub tries again");
            }
            is_first = false;
            if begun.elapsed() > PAUSES.1 {
                pause = PAUSES.0;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn follow(
        &self,
        requests: &mut watch::Receiver<u64>,
    ) -> Result<std::convert::Infallible, ReplicationEnd> {
        let mut reader = self.redis_log.stream_reader();
        self.reconcile().await?;
        self.prove_writable().await;
        self.check_eviction().await;
        let mut checked = Instant::now();
        let mut at = self.log.head().offset;
        loop {
            // A new connection may lead to another server: reconcile before its entries are applied.
            if !reader.is_connected() {
                within_silence(reader.next(self.log.head().offset, Duration::from_millis(1))).await?;
                self.reconcile().await?;
            }
            // A request to reconcile must not cancel the read, which would cost the connection.
            let mut coming = pin!(timeout(BLOCK + SILENCE, reader.next(self.log.head().offset, BLOCK)));
            let stored = loop {
                tokio::select! {
                    came = &mut coming => break came.map_err(|_| silence_error())??,
                    _ = requests.changed() => drop(self.reconcile_unless_moving().await?),
                }
            };
            self.apply(stored).await?;
            if checked.elapsed() >= CHECK {
                let head = self.reconcile_unless_moving().await?;
                let now_at = self.log.head().offset;
                if let Some(head) = head
                    && now_at < head
                    && now_at == at
                {
                    return Err(ReplicationEnd::StoodStill { at, head });
                }
                (checked, at) = (Instant::now(), now_at);
                self.prove_writable().await;
            }
        }
    }

    pub(super) async fn apply(&self, stored: Vec<ReplicatedEntry>) -> Result<(), ReplicationEnd> {
        if stored.is_empty() {
            return Ok(());
        }
        match self.try_apply(stored) {
            Ok(()) => Ok(()),
            // Reconciliation reads the missing entries and the epoch rows.
            Err(
                ApplyError::MissingBefore { .. }
                | ApplyError::UnknownEpoch { .. }
                | ApplyError::Diverged { .. },
            ) => {
                self.metrics.broker.resyncs.inc();
                self.reconcile().await
            }
            Err(misplaced) => Err(ReplicationEnd::Misplaced(misplaced)),
        }
    }

    fn try_apply(&self, stored: Vec<ReplicatedEntry>) -> Result<(), ApplyError> {
        let here = self.log.head();
        // Offsets alone do not show a fork.
        let follows = |it: &&ReplicatedEntry| it.offset == here.offset + 1;
        let before = stored.iter().find(follows).map_or(Tag(0), |next| next.before);
        if before != Tag(0) && here.tag != Tag(0) && before != here.tag {
            return Err(ApplyError::Diverged { offset: here.offset });
        }
        let entries = self.log.apply(stored)?;
        if let Some(last) = entries.last() {
            self.sync_state.observe(LastSeen { epoch: last.epoch, offset: last.offset, tag: last.tag });
            self.sink.on_appended(&entries);
            self.sync_state.note_applied(last.offset);
        }
        Ok(())
    }

    pub(super) async fn reconcile(&self) -> Result<(), ReplicationEnd> {
        self.reconcile_to().await.map(drop)
    }

    /// As [`Self::reconcile_to`]; `None` while the slot of the log is moved between two cluster nodes, so that neither has all
    /// keys. New entries are applied meanwhile, because each names the tag of the entry before it.
    async fn reconcile_unless_moving(&self) -> Result<Option<u64>, ReplicationEnd> {
        match self.reconcile_to().await {
            Err(ReplicationEnd::Fault(RedisError::Moving(why))) => {
                debug!(why, "the log was not compared with redis");
                Ok(None)
            }
            reconciled => reconciled.map(Some),
        }
    }

    /// Compares the node's log with Redis, truncates entries that Redis lost, and reads missing ones. Returns the head.
    async fn reconcile_to(&self) -> Result<u64, ReplicationEnd> {
        let question = self.log.barriers().begin();
        let (head, is_settled) = self.fenced_head().await?;
        self.shared.found(&head.versions);
        let rows = head.epochs.iter().map(|epoch| epoch.row.clone()).collect();
        let dropped = self.log.install_epochs(rows);
        if !dropped.is_empty() {
            warn!(
                events = dropped.len(),
                "redis lost events that this node has; clients that resume get a gap"
            );
        }
        let newest = head.newest().map_or(Epoch(0), |newest| newest.row.epoch());
        if newest != self.sync_state.newest() {
            self.sink.wake_all();
        }
        self.backfill(&head).await?;
        let here = self.log.head();
        self.sync_state
            .note_reconciled(LastSeen { epoch: newest, offset: here.offset, tag: here.tag }, is_settled);
        self.log.barriers().complete(question);
        self.sync_state.mark_healthy(SyncPart::Read);
        let lag = head.offset.saturating_sub(here.offset);
        self.metrics.broker.compared(
            lag,
            self.redis_log.connections_opened(),
            self.redis_log.mirror_denied(),
        );
        Ok(head.offset)
    }

    /// Reads the entries up to this head that the node lacks.
    async fn backfill(&self, head: &RedisHead) -> Result<(), ReplicationEnd> {
        let oldest = head.oldest.unwrap_or(head.offset + 1);
        if self.log.head().offset + 1 < oldest {
            let before = if oldest > head.offset { head.tag } else { Tag(0) };
            self.log.reset_to(oldest, before);
        }
        while self.log.head().offset < head.offset {
            let at = self.log.head().offset;
            let stored = self.redis_log.page(at + 1, usize::MAX).await?;
            let Some(first) = stored.first().map(|it| it.offset) else {
                return Err(ReplicationEnd::StoodStill { at, head: head.offset });
            };
            if first > at + 1 {
                // Redis trimmed the entries meanwhile.
                self.log.reset_to(first, Tag(0));
            }
            self.try_apply(stored).map_err(ReplicationEnd::Misplaced)?;
        }
        Ok(())
    }

    /// Reads the head, and begins an epoch if Redis lost events or is another server. Returns also whether the newest epoch began
    /// at this server; it did not if Redis refuses writes, and then the node only reads.
    async fn fenced_head(&self) -> Result<(RedisHead, bool), RedisError> {
        loop {
            let seen = self.sync_state.seen();
            let requested_at = self.log.own_now();
            let head = within_silence(self.redis_log.head()).await?;
            self.compare_clocks(head.now, requested_at.midpoint(self.log.own_now()));
            // The first row names the lost epoch, so that other nodes see that the loss is reported.
            let lost = (seen.offset > 0).then_some((seen.epoch, seen.offset));
            if let Some(part) = head.lacks {
                warn!(part, "redis lost a part of the log; the log begins again, and clients get a gap");
                self.metrics.broker.data_losses.inc();
                let new = self.new_epoch(LostChannels::All, &head);
                self.redis_log.begin(EpochStart::Remains, new, lost).await?;
                continue;
            }
            let Some(newest) = head.newest() else {
                let loss = if lost.is_some() { LostChannels::All } else { LostChannels::None };
                self.redis_log.begin(EpochStart::Nothing, self.new_epoch(loss, &head), lost).await?;
                continue;
            };
            let losses = LossDetector { log: &self.log, redis_log: &self.redis_log };
            if losses.has_lost(seen, &head).await? {
                let lost = unreported_loss(losses.drop_lost(seen, &head).await?, seen.epoch, &head);
                warn!(
                    seen = seen.offset,
                    head = head.offset,
                    "redis lost events; clients that resume get a gap"
                );
                self.metrics.broker.data_losses.inc();
                if lost == LostChannels::None {
                    self.sync_state.forget(seen);
                    continue;
                }
                let new = self.new_epoch(lost, &head);
                let at = EpochStart::HeadOf(newest.row.epoch());
                match self.redis_log.begin(at, new, Some((seen.epoch, seen.offset))).await? {
                    BeginOutcome::Now(_) | BeginOutcome::Known => self.sync_state.forget(seen),
                    BeginOutcome::Other { .. } => {}
                }
                continue;
            }
            if head.replid != head.epoch_replid && !head.replid.is_empty() {
                let new = self.new_epoch(LostChannels::None, &head);
                match self.redis_log.begin(EpochStart::HeadOf(newest.row.epoch()), new, None).await {
                    Ok(_) => {
                        info!(head = head.offset, "redis is another server than before; a new epoch begins");
                    }
                    Err(RedisError::NotApplied(why) | RedisError::Moving(why)) => {
                        self.sync_state.mark_unhealthy(SyncPart::Append, why);
                        return Ok((head, false));
                    }
                    Err(fault) => return Err(fault),
                }
                continue;
            }
            match self.note_served(&head, newest.row.epoch()).await {
                Ok(true) => return Ok((head, true)),
                Ok(false) => {}
                Err(RedisError::NotApplied(why)) => {
                    self.sync_state.mark_unhealthy(SyncPart::Append, why);
                    return Ok((head, false));
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Records in the data directory that this log serves. If another log took events since, it begins an epoch first. Returns
    /// false if the head has changed by that.
    async fn note_served(&self, head: &RedisHead, newest: Epoch) -> Result<bool, RedisError> {
        let mut epochs: Vec<Epoch> = head.epochs.iter().map(|epoch| epoch.row.epoch()).collect();
        let is_behind = self.log.is_behind(&epochs);
        if is_behind {
            warn!("another log took events in this directory since redis served; clients get a gap");
            let new = self.new_epoch(LostChannels::All, head);
            match self.redis_log.begin(EpochStart::HeadOf(newest), new, None).await? {
                BeginOutcome::Now(begun) => epochs.push(begun.row.epoch()),
                BeginOutcome::Known | BeginOutcome::Other { .. } => return Ok(false),
            }
        }
        // Writes a small file, only if the newest epoch has changed.
        let log = self.log.clone();
        let noting = spawn_blocking(move || log.note_served(&epochs)).await;
        if let Err(error) = noting.unwrap_or_else(|error| Err(io::Error::other(error))) {
            warn!(%error, "the record of the log that serves was not written; check the data directory");
        }
        Ok(!is_behind)
    }

    fn new_epoch(&self, lost: LostChannels, head: &RedisHead) -> NewEpoch {
        NewEpoch { epoch: Epoch((self.random)()), lost, replid: head.replid.clone() }
    }

    /// Sets the log's clock to that of Redis, which was `theirs` when this machine's was `ours`. Warns if they differ much.
    fn compare_clocks(&self, theirs: Option<u64>, ours: u64) {
        let Some(theirs) = theirs else { return };
        let ahead = i64::try_from(theirs).unwrap_or(i64::MAX).saturating_sub_unsigned(ours);
        self.log.go_by_clock(ahead);
        let apart = Duration::from_millis(ahead.unsigned_abs());
        self.metrics.broker.clock_apart(apart);
        let is_in_time = apart <= CLOCKS_APART_MAX;
        let was_in_time = self.sync_state.set_in_time(is_in_time);
        if !is_in_time && was_in_time != Some(false) {
            warn!(
                ?apart,
                limit = ?CLOCKS_APART_MAX,
                "the clocks of redis and this machine differ; the node uses that of redis and trims no event by age; set the clocks"
            );
        } else if is_in_time && was_in_time == Some(false) {
            info!("the clocks of redis and of this machine agree");
        }
    }

    /// Warns if Redis may evict the log.
    async fn check_eviction(&self) {
        let Ok(Ok(Some(policy))) = timeout(CHECK, self.redis_log.eviction_policy()).await else { return };
        let evicts = policy != "noeviction";
        self.metrics.broker.evicts(evicts);
        if evicts {
            warn!(policy, "redis may evict the log when its memory is full; set maxmemory-policy noeviction");
        }
    }

    /// Writes a probe, so that a node without publishers also notices that Redis refuses writes.
    async fn prove_writable(&self) {
        match timeout(CHECK, self.redis_log.set("probe", b"1", CHECK)).await {
            Ok(Ok(())) => self.sync_state.mark_healthy(SyncPart::Append),
            Ok(Err(fault)) => drop(self.sync_state.mark_unhealthy(SyncPart::Append, fault.to_string())),
            // Reads detect a silent Redis.
            Err(_) => {}
        }
    }
}
