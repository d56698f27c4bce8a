//! Follows the log in Redis: reads what it lacks, finds losses and forks, and hands on what comes.

use std::{collections::BTreeSet, io, pin::pin, sync::Arc, time::Duration};

use tidings_protocol::{ChannelName, Epoch, Tag};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    BeginOutcome, EpochLoss, LastSeen, NewEpoch, RedisEntry, RedisEpoch, RedisError, RedisHead, RedisLog,
    TableReplica, sync_state::SyncState,
};
use crate::{
    broker::DeliverySink,
    log::{
        Log,
        checkpoint::{self, LostChannels},
        entry::Entry,
        replica::{ApplyError, ReplicatedEntry},
    },
    metrics::Metrics,
};

/// How often the place is compared with that of Redis, and how long a wait for more may be.
const CHECK: Duration = Duration::from_secs(3);
const BLOCK: Duration = Duration::from_secs(1);
/// How long Redis may be silent, though a call may take longer, before it is out of sight.
const SILENCE: Duration = Duration::from_secs(5);
/// How long it waits before it connects again: first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How far the clock of this machine may be from that of Redis before the node trims nothing by age.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);
/// Channels of a loss that are named before it counts for all.
const LOST_CHANNELS_MAX: usize = 1000;

/// Keeps a node's log the same as that in Redis.
pub(crate) struct Replicator {
    pub(super) redis_log: Arc<RedisLog>,
    pub(super) log: Arc<Log>,
    pub(super) sync_state: Arc<SyncState>,
    pub(super) sink: Arc<dyn DeliverySink>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) random: fn() -> u64,
    pub(super) shared: Arc<TableReplica>,
}

/// Why following ended.
#[derive(Debug)]
pub(super) enum ReplicationEnd {
    Fault(RedisError),
    /// Redis has more, and nothing of it comes.
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
                write!(f, "nothing came after event {at}, though redis has {head}")
            }
            Self::Misplaced(misplaced) => misplaced.fmt(f),
        }
    }
}

impl Replicator {
    /// Follows until it is dropped.
    pub(crate) async fn run(self) {
        let mut asked = self.sync_state.reconcile_requests();
        let mut pause = PAUSES.0;
        let mut is_first = true;
        loop {
            let begun = Instant::now();
            let Err(ended) = self.follow(&mut asked).await;
            self.redis_log.drop_idle();
            self.log.mark_disconnected();
            let was_read = self.sync_state.is_not_read(ended.to_string());
            if was_read {
                self.metrics.broker_disconnected();
            }
            // A node that starts without its Redis has lost nothing, and has to say why nothing works.
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
        asked: &mut watch::Receiver<u64>,
    ) -> Result<std::convert::Infallible, ReplicationEnd> {
        let mut tail = self.redis_log.stream_reader();
        self.reconcile().await?;
        self.prove_writable().await;
        self.check_eviction().await;
        let mut checked = Instant::now();
        let mut at = self.log.head().offset;
        loop {
            // What nobody looked over since the connection was opened may be another server's: it is not placed.
            if !tail.is_connected() {
                self.within_silence(tail.next(self.log.head().offset, Duration::from_millis(1))).await?;
                self.reconcile().await?;
            }
            // Who asks must not cost the wait, and with it the connection.
            let mut coming = pin!(timeout(BLOCK + SILENCE, tail.next(self.log.head().offset, BLOCK)));
            let stored = loop {
                tokio::select! {
                    came = &mut coming => break came.map_err(|_| silence_error())??,
                    _ = asked.changed() => drop(self.reconcile_unless_moving().await?),
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

    pub(super) async fn apply(&self, stored: Vec<RedisEntry>) -> Result<(), ReplicationEnd> {
        if stored.is_empty() {
            return Ok(());
        }
        match self.try_apply(stored) {
            Ok(()) => Ok(()),
            // Looking over reads what is between, and the rows.
            Err(
                ApplyError::MissingBefore { .. }
                | ApplyError::UnknownEpoch { .. }
                | ApplyError::Diverged { .. },
            ) => {
                self.metrics.broker_resynced();
                self.reconcile().await
            }
            Err(misplaced) => Err(ReplicationEnd::Misplaced(misplaced)),
        }
    }

    fn try_apply(&self, stored: Vec<RedisEntry>) -> Result<(), ApplyError> {
        let here = self.log.head();
        // Offsets alone slide over a fork.
        let follows = |it: &&RedisEntry| it.offset == here.offset + 1;
        let before = stored.iter().find(follows).map_or(Tag(0), |next| next.before);
        if before != Tag(0) && here.tag != Tag(0) && before != here.tag {
            return Err(ApplyError::Diverged { offset: here.offset });
        }
        let placed = stored.into_iter().map(|it| ReplicatedEntry {
            offset: it.offset,
            epoch: it.epoch,
            tag: it.tag,
            draft: it.draft,
        });
        let entries = self.log.apply(placed.collect())?;
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

    /// As [`Self::look_over_to`]; none while keys of the log's slot are on their way between two nodes of a cluster, so that
    /// neither has all. What comes meanwhile is placed all the same: each entry names the one before it.
    async fn reconcile_unless_moving(&self) -> Result<Option<u64>, ReplicationEnd> {
        match self.reconcile_to().await {
            Err(ReplicationEnd::Fault(RedisError::Moving(why))) => {
                debug!(why, "the log was not compared with redis");
                Ok(None)
            }
            looked => looked.map(Some),
        }
    }

    /// Compares what is here with what is there, sets right what differs, and reads what is lacking. Answers the head.
    async fn reconcile_to(&self) -> Result<u64, ReplicationEnd> {
        let question = self.log.begin_barrier();
        let (head, is_settled) = self.fenced_head().await?;
        self.shared.found(&head.versions);
        let rows = head.epochs.iter().map(row_of).collect();
        let dropped = self.log.install_epochs(rows);
        if !dropped.is_empty() {
            warn!(
                events = dropped.len(),
                "redis has lost events that were here; clients that resume are told"
            );
        }
        let newest = head.newest().map_or(Epoch(0), |row| row.epoch);
        if newest != self.sync_state.newest() {
            self.sink.wake_all();
        }
        self.backfill(&head).await?;
        let here = self.log.head();
        self.sync_state
            .note_reconciled(LastSeen { epoch: newest, offset: here.offset, tag: here.tag }, is_settled);
        self.log.complete_barrier(question);
        self.sync_state.is_read();
        let lag = head.offset.saturating_sub(here.offset);
        self.metrics.broker_compared(
            lag,
            self.redis_log.connections_opened(),
            self.redis_log.mirror_denied(),
        );
        Ok(head.offset)
    }

    /// Reads what Redis has up to this head and is not here.
    async fn backfill(&self, head: &RedisHead) -> Result<(), ReplicationEnd> {
        let oldest = head.oldest.unwrap_or(head.offset + 1);
        if self.log.head().offset + 1 < oldest {
            let before = if oldest > head.offset { head.tag } else { Tag(0) };
            self.log.reset_to(oldest, before);
        }
        while self.log.head().offset < head.offset {
            let at = self.log.head().offset;
            let stored = self.page(at + 1, usize::MAX).await?;
            let Some(first) = stored.first().map(|it| it.offset) else {
                return Err(ReplicationEnd::StoodStill { at, head: head.offset });
            };
            if first > at + 1 {
                // It was trimmed meanwhile.
                self.log.reset_to(first, Tag(0));
            }
            self.try_apply(stored).map_err(ReplicationEnd::Misplaced)?;
        }
        Ok(())
    }

    /// The head, and whether the newest epoch is of the server that Redis is now. Redis gets an epoch for that here, unless it
    /// refuses: a Redis that can be read only is read.
    async fn fenced_head(&self) -> Result<(RedisHead, bool), RedisError> {
        loop {
            let seen = self.sync_state.seen();
            let asked = self.log.own_now();
            let head = self.within_silence(self.redis_log.head()).await?;
            self.compare_clocks(head.now, asked.midpoint(self.log.own_now()));
            // The first row names the epoch: other nodes that lost entries of it find that told.
            let lost = (seen.offset > 0).then_some((seen.epoch, seen.offset));
            if let Some(part) = head.lacks {
                warn!(part, "redis has lost a part of the log; the log begins anew, and clients get a gap");
                self.metrics.broker_data_lost();
                self.redis_log.begin_anew(self.new_epoch(EpochLoss::All, &head), lost).await?;
                continue;
            }
            let Some(newest) = head.newest() else {
                let loss = if lost.is_some() { EpochLoss::All } else { EpochLoss::None };
                self.redis_log.begin_log(self.new_epoch(loss, &head), lost).await?;
                continue;
            };
            if self.has_lost(seen, &head).await? {
                let lost = unreported_loss(self.loss(seen, &head).await?, seen.epoch, &head);
                warn!(
                    seen = seen.offset,
                    head = head.offset,
                    "redis has lost events; clients that resume are told"
                );
                self.metrics.broker_data_lost();
                if lost == EpochLoss::None {
                    self.sync_state.forget(seen);
                    continue;
                }
                let new = self.new_epoch(lost, &head);
                match self.redis_log.report_loss(newest.epoch, (seen.epoch, seen.offset), new).await? {
                    BeginOutcome::Now(_) | BeginOutcome::Known => self.sync_state.forget(seen),
                    BeginOutcome::Other { .. } => {}
                }
                continue;
            }
            if head.replid != head.epoch_replid && !head.replid.is_empty() {
                match self.redis_log.begin_epoch(newest.epoch, self.new_epoch(EpochLoss::None, &head)).await {
                    Ok(_) => {
                        info!(head = head.offset, "redis is another server than before; a new epoch begins");
                    }
                    Err(RedisError::NotApplied(why) | RedisError::Moving(why)) => {
                        self.sync_state.is_not_written(why);
                        return Ok((head, false));
                    }
                    Err(fault) => return Err(fault),
                }
                continue;
            }
            match self.note_served(&head, newest.epoch).await {
                Ok(true) => return Ok((head, true)),
                Ok(false) => {}
                Err(RedisError::NotApplied(why)) => {
                    self.sync_state.is_not_written(why);
                    return Ok((head, false));
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Puts on record that this log serves. Where another one took events meanwhile, an epoch tells that first; false is then
    /// returned, as the head has changed.
    async fn note_served(&self, head: &RedisHead, newest: Epoch) -> Result<bool, RedisError> {
        let mut epochs: Vec<Epoch> = head.epochs.iter().map(|row| row.epoch).collect();
        let is_behind = self.log.is_behind(&epochs);
        if is_behind {
            warn!("another log took events in this directory since redis served; clients get a gap");
            match self.redis_log.begin_epoch(newest, self.new_epoch(EpochLoss::All, head)).await? {
                BeginOutcome::Now(row) => epochs.push(row.epoch),
                BeginOutcome::Known | BeginOutcome::Other { .. } => return Ok(false),
            }
        }
        // A small file, and only where the newest epoch is another than before.
        let log = self.log.clone();
        let noting = spawn_blocking(move || log.note_served(&epochs)).await;
        if let Err(error) = noting.unwrap_or_else(|error| Err(io::Error::other(error))) {
            warn!(%error, "it could not be put on record that the log in redis serves; check the data directory");
        }
        Ok(!is_behind)
    }

    fn new_epoch(&self, lost: EpochLoss, head: &RedisHead) -> NewEpoch {
        NewEpoch { epoch: Epoch((self.random)()), lost, replid: head.replid.clone() }
    }

    /// Whether the newest entry that was seen is not there.
    async fn has_lost(&self, witness: LastSeen, head: &RedisHead) -> Result<bool, RedisError> {
        if witness.offset == 0 {
            return Ok(false);
        }
        let Some(end) = end_of(head, witness.epoch) else { return Ok(true) };
        if witness.offset > end {
            return Ok(true);
        }
        if head.oldest.is_none_or(|oldest| witness.offset < oldest) {
            return Ok(false);
        }
        let there = self.within_silence(self.redis_log.range(witness.offset, 1)).await?;
        Ok(there.first().is_some_and(|it| it.offset == witness.offset && it.tag != witness.tag))
    }

    /// Drops what is here and not there; names its channels.
    pub(super) async fn loss(&self, witness: LastSeen, head: &RedisHead) -> Result<EpochLoss, RedisError> {
        if end_of(head, witness.epoch).is_none() {
            self.log.truncate_after(0);
            return Ok(EpochLoss::All);
        }
        let here = self.log.head().offset;
        let was_held = self.log.tag_at(witness.offset) == witness.tag;
        // Not only up to the end of its epoch: an answer may be late, and what came after that epoch be here.
        let common = self.common_offset(here.min(head.offset), head.oldest).await?;
        let dropped = self.log.truncate_after(common);
        let all_known = was_held && dropped.len() as u64 == here - common;
        let channels: BTreeSet<ChannelName> =
            dropped.iter().flat_map(|entry: &Arc<Entry>| entry.channels.iter().cloned()).collect();
        Ok(if all_known && channels.len() <= LOST_CHANNELS_MAX {
            EpochLoss::Channels(channels.into_iter().collect())
        } else {
            EpochLoss::All
        })
    }

    /// The newest offset, not above `to`, at which the entry here is the one there.
    async fn common_offset(&self, mut to: u64, oldest: Option<u64>) -> Result<u64, RedisError> {
        while to > 0 && oldest.is_some_and(|oldest| to >= oldest) {
            let from = to.saturating_sub(self.redis_log.page_size().entries() as u64 - 1).max(1);
            let there = self.page(from, usize::try_from(to - from + 1).unwrap_or(usize::MAX)).await?;
            let same = |it: &&RedisEntry| it.offset <= to && self.log.tag_at(it.offset) == it.tag;
            if let Some(common) = there.iter().rev().find(same) {
                return Ok(common.offset);
            }
            to = from - 1;
        }
        Ok(to)
    }

    /// Reads entries from an offset on, at most so many, and as many as come in time. After a failure the next page is smaller:
    /// what was placed before it stays.
    async fn page(&self, from: u64, entries_max: usize) -> Result<Vec<RedisEntry>, RedisError> {
        let page_size = self.redis_log.page_size();
        let (asked, begun) = (page_size.entries().min(entries_max), Instant::now());
        let stored = self
            .within_silence(self.redis_log.range(from, asked))
            .await
            .inspect_err(|_| page_size.failed(asked))?;
        page_size.answered(asked, &stored, begun.elapsed());
        Ok(stored)
    }

    /// What a call answers, unless Redis is silent.
    async fn within_silence<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisError> {
        timeout(SILENCE, call).await.map_err(|_| silence_error())?
    }

    /// Goes by the clock of Redis, which was `theirs` when this machine's was `ours`, and says so where they are far apart.
    fn compare_clocks(&self, theirs: Option<u64>, ours: u64) {
        let Some(theirs) = theirs else { return };
        let ahead = i64::try_from(theirs).unwrap_or(i64::MAX).saturating_sub_unsigned(ours);
        self.log.go_by_clock(ahead);
        let apart = Duration::from_millis(ahead.unsigned_abs());
        self.metrics.broker_clock_apart(apart);
        let is_in_time = apart <= CLOCKS_APART_MAX;
        let was_in_time = self.sync_state.set_in_time(is_in_time);
        if !is_in_time && was_in_time != Some(false) {
            warn!(
                ?apart,
                limit = ?CLOCKS_APART_MAX,
                "the clocks of redis and of this machine are apart; this node goes by that of redis and trims nothing by age; set them right"
            );
        } else if is_in_time && was_in_time == Some(false) {
            info!("the clocks of redis and of this machine agree");
        }
    }

    /// Says so where Redis may evict the log.
    async fn check_eviction(&self) {
        let Ok(Ok(Some(policy))) = timeout(CHECK, self.redis_log.eviction_policy()).await else { return };
        let evicts = policy != "noeviction";
        self.metrics.broker_evicts(evicts);
        if evicts {
            warn!(
                policy,
                "redis may evict the log when it is full, and events are lost then; set maxmemory-policy noeviction"
            );
        }
    }

    /// Tries whether Redis can be written: a node where nobody publishes knows it, too.
    async fn prove_writable(&self) {
        match timeout(CHECK, self.redis_log.set("probe", b"1", CHECK)).await {
            Ok(Ok(())) => self.sync_state.is_written(),
            Ok(Err(fault)) => self.sync_state.is_not_written(fault.to_string()),
            // Whether Redis is silent is seen by reading.
            Err(_) => {}
        }
    }
}

fn silence_error() -> RedisError {
    RedisError::OutcomeUnknown(format!("redis is silent for {SILENCE:?}"))
}

/// The part of a loss that no row tells yet.
///
/// Only a row whose `of` names the epoch tells of its losses. That another row stands behind the epoch proves nothing: a
/// primary that was cut off may have acknowledged events after that row began.
fn unreported_loss(lost: EpochLoss, epoch: Epoch, head: &RedisHead) -> EpochLoss {
    let tells = |row: &&RedisEpoch| row.of.is_some_and(|(of, _)| of == epoch);
    let rows: Vec<&RedisEpoch> = head.epochs.iter().filter(tells).collect();
    if rows.iter().any(|row| row.lost == EpochLoss::All) {
        return EpochLoss::None;
    }
    let EpochLoss::Channels(mut channels) = lost else { return lost };
    for row in rows {
        if let EpochLoss::Channels(told) = &row.lost {
            channels.retain(|channel| !told.contains(channel));
        }
    }
    if channels.is_empty() { EpochLoss::None } else { EpochLoss::Channels(channels) }
}

/// Where an epoch ended, or how far the newest has come.
fn end_of(head: &RedisHead, epoch: Epoch) -> Option<u64> {
    let index = head.epochs.iter().position(|row| row.epoch == epoch)?;
    Some(head.epochs.get(index + 1).map_or(head.offset, |next| next.after))
}

fn row_of(row: &RedisEpoch) -> checkpoint::EpochRow {
    let lost = match &row.lost {
        EpochLoss::None => LostChannels::None,
        EpochLoss::Channels(channels) => {
            LostChannels::Channels(channels.iter().map(ToString::to_string).collect())
        }
        EpochLoss::All => LostChannels::All,
    };
    checkpoint::EpochRow { epoch: row.epoch.0, begins_after: row.after, lost }
}
