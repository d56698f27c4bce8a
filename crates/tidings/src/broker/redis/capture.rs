//! Appends messages of other programs to the log: one node at a time, each message once.
//!
//! Every node receives all messages, and keeps them until they are in the log. One node holds the lease and appends them. Each
//! call names the [`CapturePosition`] before and after it. The script refuses the call if the node holds the lease no more, or
//! if another node has moved the position. So the next holder knows where to continue, and a late call changes nothing.

pub(super) mod buffer;

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{debug, info, warn};

use self::buffer::{BufferStatus, CaptureBuffer, CapturePosition};
use super::{
    append_call::{Append, AppendError, AppendRefusal, Appended, CaptureAppend, LastSeen, NewEvent},
    commands::RedisLog,
    error::RedisError,
    node_messages::NodeMessage,
    sync_state::{SyncPart, SyncState},
};
use crate::metrics::Metrics;

/// Messages and bytes of one call.
const MESSAGES_MAX: usize = 512;
const BYTES_MAX: usize = 2 << 20;
/// How often a node asks for the lease within its duration, and the longest pause between two requests.
const ASKED_WITHIN_LEASE: u32 = 4;
const ASKED_WITHIN: Duration = Duration::from_secs(1);
/// Pause before a failed step is repeated.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a node waits for its own marker before it publishes another.
const MARK_PATIENCE: Duration = Duration::from_secs(1);
/// How long a node that shuts down waits until its messages are in the log: beyond the lease of a killed node, and in all.
const END_PATIENCE: Duration = Duration::from_secs(1);
const END_PATIENCE_MAX: Duration = Duration::from_secs(10);

/// Task that captures messages while the node holds the lease.
pub(crate) struct Capturer {
    pub(super) buffer: Arc<CaptureBuffer>,
    pub(super) redis_log: Arc<RedisLog>,
    pub(super) sync_state: Arc<SyncState>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) random: fn() -> u64,
    pub(super) lease: Duration,
}

/// State of the capture lease, as the node knows it.
struct CaptureCycle {
    /// Name of the node as a holder; the node takes a new name after it missed messages.
    me: String,
    /// Captured position in Redis, while the node holds the lease as far as it knows.
    from: Option<String>,
    /// Gap count when the node asked for the lease.
    holes: u64,
    /// When the node asks for the lease next.
    ask_at: Instant,
    /// When Redis last answered a request for the lease.
    told_at: Instant,
}

impl Capturer {
    /// Captures until `stop` is set, then appends the messages that are left.
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
                    self.sync_state
                        .mark_unhealthy(SyncPart::Capture, format!("redis.capture stands still: {fault}"));
                }
                sleep(PAUSE).await;
            }
        }
    }

    /// Runs the next step, or waits for work.
    async fn step(&self, turn: &mut CaptureCycle) -> Result<(), RedisError> {
        if turn.holes != self.buffer.gap_count() && turn.from.take().is_some() {
            info!("this node missed messages; a node that has them may capture");
            turn.ask_at = Instant::now();
            // The new name ends the capture even if Redis does not get the release.
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
                        // The lease may be free now.
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
        // A node that has received more messages asks within one interval.
        let (is_mine, place) =
            self.redis_log.acquire_lease(&turn.me, self.lease, 2 * interval, &marks).await?;
        turn.holes = holes;
        self.buffer.acknowledge(CapturePosition::read(&place));
        if holes == self.buffer.gap_count() {
            self.sync_state.mark_healthy(SyncPart::Capture);
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

    /// Appends some of the waiting messages. Returns false if none waits.
    async fn append_next(&self, turn: &mut CaptureCycle) -> Result<bool, RedisError> {
        let Some((drafts, place)) = self.buffer.next(MESSAGES_MAX, BYTES_MAX, turn.holes) else {
            return Ok(false);
        };
        if drafts.is_empty() {
            // None of these messages is fit for the log.
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
                self.sync_state.mark_healthy(SyncPart::Append);
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

    /// Waits until every message is in the log, appended by this node or another, then releases the lease.
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
