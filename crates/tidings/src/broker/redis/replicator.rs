//! Follows the log in Redis: reads what it lacks, finds losses and forks, and hands on what comes.

use std::{collections::BTreeSet, io, pin::pin, sync::Arc, time::Duration};

use tidings_protocol::{ChannelName, Epoch, Tag};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{Begun, EpochRow, Fault, Head, Link, Loss, NewEpoch, Stored, View, Witness, sync_state::Sight};
use crate::{
    broker::Audience,
    log::{
        Log,
        checkpoint::{self, Lost},
        entry::Entry,
        replica::{Misplaced, Placed},
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
pub(crate) struct Follower {
    pub(super) link: Arc<Link>,
    pub(super) log: Arc<Log>,
    pub(super) sight: Arc<Sight>,
    pub(super) audience: Arc<dyn Audience>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) random: fn() -> u64,
    pub(super) shared: Arc<View>,
}

/// Why following ended.
#[derive(Debug)]
pub(super) enum Ended {
    Fault(Fault),
    /// Redis has more, and nothing of it comes.
    StoodStill {
        at: u64,
        head: u64,
    },
    Misplaced(Misplaced),
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl std::fmt::Display for Ended {
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

impl Follower {
    /// Follows until it is dropped.
    pub(crate) async fn run(self) {
        let mut asked = self.sight.asked();
        let mut pause = PAUSES.0;
        let mut is_first = true;
        loop {
            let begun = Instant::now();
            let Err(ended) = self.follow(&mut asked).await;
            self.link.distrust();
            self.log.lose_sight();
            let was_read = self.sight.is_not_read(ended.to_string());
            if was_read {
                self.metrics.broker_lost();
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

    async fn follow(&self, asked: &mut watch::Receiver<u64>) -> Result<std::convert::Infallible, Ended> {
        let mut tail = self.link.tail();
        self.look_over().await?;
        self.prove_writable().await;
        self.check_eviction().await;
        let mut checked = Instant::now();
        let mut at = self.log.head().offset;
        loop {
            // What nobody looked over since the connection was opened may be another server's: it is not placed.
            if !tail.is_connected() {
                self.heard(tail.next(self.log.head().offset, Duration::from_millis(1))).await?;
                self.look_over().await?;
            }
            // Who asks must not cost the wait, and with it the connection.
            let mut coming = pin!(timeout(BLOCK + SILENCE, tail.next(self.log.head().offset, BLOCK)));
            let stored = loop {
                tokio::select! {
                    came = &mut coming => break came.map_err(|_| silent())??,
                    _ = asked.changed() => drop(self.look_over_unless_moving().await?),
                }
            };
            self.place(stored).await?;
            if checked.elapsed() >= CHECK {
                let head = self.look_over_unless_moving().await?;
                let now_at = self.log.head().offset;
                if let Some(head) = head
                    && now_at < head
                    && now_at == at
                {
                    return Err(Ended::StoodStill { at, head });
                }
                (checked, at) = (Instant::now(), now_at);
                self.prove_writable().await;
            }
        }
    }

    pub(super) async fn place(&self, stored: Vec<Stored>) -> Result<(), Ended> {
        if stored.is_empty() {
            return Ok(());
        }
        match self.try_place(stored) {
            Ok(()) => Ok(()),
            // Looking over reads what is between, and the rows.
            Err(Misplaced::Hole { .. } | Misplaced::UnknownEpoch { .. } | Misplaced::Diverged { .. }) => {
                self.metrics.broker_refilled();
                self.look_over().await
            }
            Err(misplaced) => Err(Ended::Misplaced(misplaced)),
        }
    }

    fn try_place(&self, stored: Vec<Stored>) -> Result<(), Misplaced> {
        let here = self.log.head();
        // Offsets alone slide over a fork.
        let follows = |it: &&Stored| it.offset == here.offset + 1;
        let before = stored.iter().find(follows).map_or(Tag(0), |next| next.before);
        if before != Tag(0) && here.tag != Tag(0) && before != here.tag {
            return Err(Misplaced::Diverged { offset: here.offset });
        }
        let placed = stored.into_iter().map(|it| Placed {
            offset: it.offset,
            epoch: it.epoch,
            tag: it.tag,
            draft: it.draft,
        });
        let entries = self.log.place(placed.collect())?;
        if let Some(last) = entries.last() {
            self.sight.has_seen(Witness { epoch: last.epoch, offset: last.offset, tag: last.tag });
            self.audience.stored(&entries);
            self.sight.has_placed(last.offset);
        }
        Ok(())
    }

    pub(super) async fn look_over(&self) -> Result<(), Ended> {
        self.look_over_to().await.map(drop)
    }

    /// As [`Self::look_over_to`]; none while keys of the log's slot are on their way between two nodes of a cluster, so that
    /// neither has all. What comes meanwhile is placed all the same: each entry names the one before it.
    async fn look_over_unless_moving(&self) -> Result<Option<u64>, Ended> {
        match self.look_over_to().await {
            Err(Ended::Fault(Fault::Moving(why))) => {
                debug!(why, "the log was not compared with redis");
                Ok(None)
            }
            looked => looked.map(Some),
        }
    }

    /// Compares what is here with what is there, sets right what differs, and reads what is lacking. Answers the head.
    async fn look_over_to(&self) -> Result<u64, Ended> {
        let question = self.log.begin_question();
        let (head, is_settled) = self.settled_head().await?;
        self.shared.found(&head.versions);
        let rows = head.epochs.iter().map(row_of).collect();
        let dropped = self.log.adopt(rows);
        if !dropped.is_empty() {
            warn!(
                events = dropped.len(),
                "redis has lost events that were here; clients that resume are told"
            );
        }
        let newest = head.newest().map_or(Epoch(0), |row| row.epoch);
        if newest != self.sight.newest() {
            self.audience.changed();
        }
        self.fill(&head).await?;
        let here = self.log.head();
        self.sight.looked(Witness { epoch: newest, offset: here.offset, tag: here.tag }, is_settled);
        self.log.answer(question);
        self.sight.is_read();
        let lag = head.offset.saturating_sub(here.offset);
        self.metrics.broker_compared(lag, self.link.connections_opened(), self.link.unmirrored());
        Ok(head.offset)
    }

    /// Reads what Redis has up to this head and is not here.
    async fn fill(&self, head: &Head) -> Result<(), Ended> {
        let oldest = head.oldest.unwrap_or(head.offset + 1);
        if self.log.head().offset + 1 < oldest {
            let before = if oldest > head.offset { head.tag } else { Tag(0) };
            self.log.begin_at(oldest, before);
        }
        while self.log.head().offset < head.offset {
            let at = self.log.head().offset;
            let stored = self.page(at + 1, usize::MAX).await?;
            let Some(first) = stored.first().map(|it| it.offset) else {
                return Err(Ended::StoodStill { at, head: head.offset });
            };
            if first > at + 1 {
                // It was trimmed meanwhile.
                self.log.begin_at(first, Tag(0));
            }
            self.try_place(stored).map_err(Ended::Misplaced)?;
        }
        Ok(())
    }

    /// The head, and whether the newest epoch is of the server that Redis is now. Redis gets an epoch for that here, unless it
    /// refuses: a Redis that can be read only is read.
    async fn settled_head(&self) -> Result<(Head, bool), Fault> {
        loop {
            let seen = self.sight.seen();
            let asked = self.log.own_now();
            let head = self.heard(self.link.head()).await?;
            self.compare_clocks(head.now, asked.midpoint(self.log.own_now()));
            // The first row names the epoch: other nodes that lost entries of it find that told.
            let lost = (seen.offset > 0).then_some((seen.epoch, seen.offset));
            if let Some(part) = head.lacks {
                warn!(part, "redis has lost a part of the log; the log begins anew, and clients get a gap");
                self.metrics.broker_forked();
                self.link.begin_anew(self.new_epoch(Loss::All, &head), lost).await?;
                continue;
            }
            let Some(newest) = head.newest() else {
                let loss = if lost.is_some() { Loss::All } else { Loss::None };
                self.link.begin_log(self.new_epoch(loss, &head), lost).await?;
                continue;
            };
            if self.has_lost(seen, &head).await? {
                let lost = untold(self.loss(seen, &head).await?, seen.epoch, &head);
                warn!(
                    seen = seen.offset,
                    head = head.offset,
                    "redis has lost events; clients that resume are told"
                );
                self.metrics.broker_forked();
                if lost == Loss::None {
                    self.sight.forget(seen);
                    continue;
                }
                let new = self.new_epoch(lost, &head);
                match self.link.report_loss(newest.epoch, (seen.epoch, seen.offset), new).await? {
                    Begun::Now(_) | Begun::Known => self.sight.forget(seen),
                    Begun::Other { .. } => {}
                }
                continue;
            }
            if head.replid != head.epoch_replid && !head.replid.is_empty() {
                match self.link.begin_epoch(newest.epoch, self.new_epoch(Loss::None, &head)).await {
                    Ok(_) => {
                        info!(head = head.offset, "redis is another server than before; a new epoch begins");
                    }
                    Err(Fault::NotDone(why) | Fault::Moving(why)) => {
                        self.sight.is_not_written(why);
                        return Ok((head, false));
                    }
                    Err(fault) => return Err(fault),
                }
                continue;
            }
            match self.note_served(&head, newest.epoch).await {
                Ok(true) => return Ok((head, true)),
                Ok(false) => {}
                Err(Fault::NotDone(why)) => {
                    self.sight.is_not_written(why);
                    return Ok((head, false));
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Puts on record that this log serves. Where another one took events meanwhile, an epoch tells that first; false is then
    /// returned, as the head has changed.
    async fn note_served(&self, head: &Head, newest: Epoch) -> Result<bool, Fault> {
        let mut epochs: Vec<Epoch> = head.epochs.iter().map(|row| row.epoch).collect();
        let is_behind = self.log.is_behind(&epochs);
        if is_behind {
            warn!("another log took events in this directory since redis served; clients get a gap");
            match self.link.begin_epoch(newest, self.new_epoch(Loss::All, head)).await? {
                Begun::Now(row) => epochs.push(row.epoch),
                Begun::Known | Begun::Other { .. } => return Ok(false),
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

    fn new_epoch(&self, lost: Loss, head: &Head) -> NewEpoch {
        NewEpoch { epoch: Epoch((self.random)()), lost, replid: head.replid.clone() }
    }

    /// Whether the newest entry that was seen is not there.
    async fn has_lost(&self, witness: Witness, head: &Head) -> Result<bool, Fault> {
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
        let there = self.heard(self.link.range(witness.offset, 1)).await?;
        Ok(there.first().is_some_and(|it| it.offset == witness.offset && it.tag != witness.tag))
    }

    /// Drops what is here and not there; names its channels.
    pub(super) async fn loss(&self, witness: Witness, head: &Head) -> Result<Loss, Fault> {
        if end_of(head, witness.epoch).is_none() {
            self.log.rewind(0);
            return Ok(Loss::All);
        }
        let here = self.log.head().offset;
        let was_held = self.log.tag_at(witness.offset) == witness.tag;
        // Not only up to the end of its epoch: an answer may be late, and what came after that epoch be here.
        let common = self.common(here.min(head.offset), head.oldest).await?;
        let dropped = self.log.rewind(common);
        let all_known = was_held && dropped.len() as u64 == here - common;
        let channels: BTreeSet<ChannelName> =
            dropped.iter().flat_map(|entry: &Arc<Entry>| entry.channels.iter().cloned()).collect();
        Ok(if all_known && channels.len() <= LOST_CHANNELS_MAX {
            Loss::Channels(channels.into_iter().collect())
        } else {
            Loss::All
        })
    }

    /// The newest offset, not above `to`, at which the entry here is the one there.
    async fn common(&self, mut to: u64, oldest: Option<u64>) -> Result<u64, Fault> {
        while to > 0 && oldest.is_some_and(|oldest| to >= oldest) {
            let from = to.saturating_sub(self.link.page_size().entries() as u64 - 1).max(1);
            let there = self.page(from, usize::try_from(to - from + 1).unwrap_or(usize::MAX)).await?;
            let same = |it: &&Stored| it.offset <= to && self.log.tag_at(it.offset) == it.tag;
            if let Some(common) = there.iter().rev().find(same) {
                return Ok(common.offset);
            }
            to = from - 1;
        }
        Ok(to)
    }

    /// Reads entries from an offset on, at most so many, and as many as come in time. After a failure the next page is smaller:
    /// what was placed before it stays.
    async fn page(&self, from: u64, entries_max: usize) -> Result<Vec<Stored>, Fault> {
        let page_size = self.link.page_size();
        let (asked, begun) = (page_size.entries().min(entries_max), Instant::now());
        let stored =
            self.heard(self.link.range(from, asked)).await.inspect_err(|_| page_size.failed(asked))?;
        page_size.answered(asked, &stored, begun.elapsed());
        Ok(stored)
    }

    /// What a call answers, unless Redis is silent.
    async fn heard<T>(&self, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        timeout(SILENCE, call).await.map_err(|_| silent())?
    }

    /// Goes by the clock of Redis, which was `theirs` when this machine's was `ours`, and says so where they are far apart.
    fn compare_clocks(&self, theirs: Option<u64>, ours: u64) {
        let Some(theirs) = theirs else { return };
        let ahead = i64::try_from(theirs).unwrap_or(i64::MAX).saturating_sub_unsigned(ours);
        self.log.go_by_clock(ahead);
        let apart = Duration::from_millis(ahead.unsigned_abs());
        self.metrics.broker_clock_apart(apart);
        let is_in_time = apart <= CLOCKS_APART_MAX;
        let was_in_time = self.sight.set_in_time(is_in_time);
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
        let Ok(Ok(Some(policy))) = timeout(CHECK, self.link.eviction_policy()).await else { return };
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
        match timeout(CHECK, self.link.set("probe", b"1", CHECK)).await {
            Ok(Ok(())) => self.sight.is_written(),
            Ok(Err(fault)) => self.sight.is_not_written(fault.to_string()),
            // Whether Redis is silent is seen by reading.
            Err(_) => {}
        }
    }
}

fn silent() -> Fault {
    Fault::Unknown(format!("redis is silent for {SILENCE:?}"))
}

/// The part of a loss that no row tells yet.
///
/// Only a row whose `of` names the epoch tells of its losses. That another row stands behind the epoch proves nothing: a
/// primary that was cut off may have acknowledged events after that row began.
fn untold(lost: Loss, epoch: Epoch, head: &Head) -> Loss {
    let tells = |row: &&EpochRow| row.of.is_some_and(|(of, _)| of == epoch);
    let rows: Vec<&EpochRow> = head.epochs.iter().filter(tells).collect();
    if rows.iter().any(|row| row.lost == Loss::All) {
        return Loss::None;
    }
    let Loss::Channels(mut channels) = lost else { return lost };
    for row in rows {
        if let Loss::Channels(told) = &row.lost {
            channels.retain(|channel| !told.contains(channel));
        }
    }
    if channels.is_empty() { Loss::None } else { Loss::Channels(channels) }
}

/// Where an epoch ended, or how far the newest has come.
fn end_of(head: &Head, epoch: Epoch) -> Option<u64> {
    let index = head.epochs.iter().position(|row| row.epoch == epoch)?;
    Some(head.epochs.get(index + 1).map_or(head.offset, |next| next.after))
}

fn row_of(row: &EpochRow) -> checkpoint::EpochRow {
    let lost = match &row.lost {
        Loss::None => Lost::None,
        Loss::Channels(channels) => Lost::Channels(channels.iter().map(ToString::to_string).collect()),
        Loss::All => Lost::All,
    };
    checkpoint::EpochRow { epoch: row.epoch.0, begins_after: row.after, lost }
}
