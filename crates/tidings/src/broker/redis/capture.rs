//! Puts what other programs publish into the log: one node at a time, and none twice.
//!
//! Every node hears all messages and keeps them until it knows that they are in the log. One holds the lease, appends them, and
//! says with each call up to which [`Place`] it has come; the script refuses it where it holds the lease no more, or somebody
//! else has come further. So whoever takes over knows where to go on, and a call that comes late does nothing.

mod buffer;

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{debug, info, warn};

pub(super) use self::buffer::CaptureBuffer;
use self::buffer::{BufferStatus, CapturePosition};
use super::{
    Append, AppendError, Appended, LastSeen, NewEvent, RedisError, RedisLog,
    append_call::{AppendRefusal, CaptureAppend},
    node_messages::NodeMessage,
    sync_state::SyncState,
};
use crate::metrics::Metrics;

/// Messages and bytes that go into one call.
const MESSAGES_MAX: usize = 512;
const BYTES_MAX: usize = 2 << 20;
/// How often the lease is asked for while it lasts, and after how long at most.
const ASKED_WITHIN_LEASE: u32 = 4;
const ASKED_WITHIN: Duration = Duration::from_secs(1);
/// How long it waits before it tries again what failed.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a node waits for a mark of its own before it sets another.
const MARK_PATIENCE: Duration = Duration::from_secs(1);
/// How long a node that ends may take to see what it has heard in the log, besides the lease of one that was killed; and
/// with it.
const END_PATIENCE: Duration = Duration::from_secs(1);
const END_PATIENCE_MAX: Duration = Duration::from_secs(10);

/// Captures, or is ready to.
pub(crate) struct Capturer {
    pub(super) buffer: Arc<CaptureBuffer>,
    pub(super) redis_log: Arc<RedisLog>,
    pub(super) sync_state: Arc<SyncState>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) random: fn() -> u64,
    pub(super) lease: Duration,
}

/// What it knows of who captures.
struct CaptureCycle {
    /// Its name while it misses nothing.
    me: String,
    /// The place that Redis has, while the lease is its own as far as it knows.
    from: Option<String>,
    /// How often something was missed when it asked for the lease.
    holes: u64,
    /// When the lease is to be asked for.
    ask_at: Instant,
    /// When Redis last said who captures.
    told_at: Instant,
}

impl Capturer {
    /// Works until it is told to stop, and then leaves nothing that it has heard.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let (me, now) = (self.name(), Instant::now());
        let mut turn = CaptureCycle { me, from: None, holes: 0, ask_at: now, told_at: now };
        tokio::select! {
            never = self.run_cycle(&mut turn) => match never {},
            _ = stop.wait_for(|stop| *stop) => {}
        }
        let patience = (self.lease + END_PATIENCE).min(END_PATIENCE_MAX);
        let _left_or_late = timeout(patience, self.release_lease(&mut turn)).await;
    }

    fn name(&self) -> String {
        format!("{:016x}", (self.random)())
    }

    async fn run_cycle(&self, turn: &mut CaptureCycle) -> Infallible {
        loop {
            if let Err(fault) = self.step(turn).await {
                debug!(%fault, "capturing was interrupted");
                turn.ask_at = Instant::now();
                if turn.told_at.elapsed() > self.lease {
                    self.sync_state.is_not_captured(format!("redis.capture stands still: {fault}"));
                }
                sleep(PAUSE).await;
            }
        }
    }

    /// Does what is to be done, or waits for it.
    async fn step(&self, turn: &mut CaptureCycle) -> Result<(), RedisError> {
        if turn.holes != self.buffer.gap_count() && turn.from.take().is_some() {
            info!("something was not heard of redis; a node that has heard it may capture");
            turn.ask_at = Instant::now();
            // Under its old name it captures no more, also where Redis does not hear of this.
            let old = std::mem::replace(&mut turn.me, self.name());
            self.redis_log.release_lease(&old).await?;
        }
        match self.buffer.status() {
            BufferStatus::Away => self.buffer.changed().await,
            BufferStatus::Unmarked(mark) => {
                self.redis_log.send_node_message(&NodeMessage::Mark(mark)).await?;
                let _ = timeout(MARK_PATIENCE, self.buffer.changed()).await;
            }
            BufferStatus::Marked => {
                if Instant::now() >= turn.ask_at {
                    self.acquire_lease(turn).await?;
                }
                let holds = turn.from.is_some();
                if !holds || !self.append_next(turn).await? {
                    tokio::select! {
                        () = sleep_until(turn.ask_at) => {}
                        () = self.buffer.heard(), if holds => {}
                        // The lease may be free.
                        () = self.buffer.changed() => turn.ask_at = Instant::now(),
                    }
                }
            }
        }
        Ok(())
    }

    async fn acquire_lease(&self, turn: &mut CaptureCycle) -> Result<(), RedisError> {
        let interval = (self.lease / ASKED_WITHIN_LEASE).min(ASKED_WITHIN);
        turn.ask_at = Instant::now() + interval;
        let (marks, holes) = self.buffer.markers();
        // Whoever has heard more asks within one interval.
        let (is_mine, place) =
            self.redis_log.acquire_lease(&turn.me, self.lease, 2 * interval, &marks).await?;
        turn.holes = holes;
        self.buffer.acknowledge(CapturePosition::read(&place));
        if holes == self.buffer.gap_count() {
            self.sync_state.is_captured();
        }
        turn.told_at = Instant::now();
        match (is_mine, turn.from.is_some()) {
            (true, false) => info!("this node captures"),
            (false, true) => warn!("another node captures now"),
            _ => {}
        }
        turn.from = is_mine.then_some(place);
        Ok(())
    }

    /// Appends some of what waits; false where there is nothing.
    async fn append_next(&self, turn: &mut CaptureCycle) -> Result<bool, RedisError> {
        let Some((drafts, place)) = self.buffer.next(MESSAGES_MAX, BYTES_MAX, turn.holes) else {
            return Ok(false);
        };
        if drafts.is_empty() {
            // Nothing of these goes into the log.
            self.buffer.acknowledge(Some(place));
            return Ok(true);
        }
        let (count, to) = (drafts.len(), place.to_string());
        let events = drafts.into_iter().map(|draft| NewEvent::new(draft, self.random));
        let messages = Append { events: events.collect() };
        let witness = self.sync_state.last_seen();
        let from = turn.from.as_deref().unwrap_or_default();
        let capture = CaptureAppend { holder: &turn.me, from, to: &to };
        match self.redis_log.append_captured(messages, witness, capture).await {
            Ok(newest) => {
                self.sync_state.is_written();
                let Appended { offset, tag, .. } = newest;
                self.sync_state.observe(LastSeen { epoch: witness.epoch, offset, tag });
                self.metrics.capture_appended(count);
                self.buffer.acknowledge(Some(place));
                turn.from = Some(to);
                Ok(true)
            }
            Err(AppendError::Refused(AppendRefusal::Uncaptured)) => {
                turn.ask_at = Instant::now();
                turn.from = None;
                Ok(true)
            }
            Err(AppendError::Refused(refused)) => {
                let _ = timeout(ASKED_WITHIN, self.sync_state.reconcile()).await;
                Err(RedisError::NotApplied(AppendError::Refused(refused).to_string()))
            }
            Err(AppendError::Fault(fault)) => {
                self.metrics.append_failed();
                Err(fault)
            }
        }
    }

    /// Leaves nothing that it has heard: somebody has appended it, or it does so itself.
    async fn release_lease(&self, turn: &mut CaptureCycle) -> Result<(), RedisError> {
        while !self.buffer.is_empty() {
            if turn.from.is_none() {
                self.acquire_lease(turn).await?;
            }
            if turn.from.is_none() {
                sleep(PAUSE).await;
            } else if !self.append_next(turn).await? {
                break;
            }
        }
        self.redis_log.release_lease(&turn.me).await
    }
}
