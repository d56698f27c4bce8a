//! Appends messages of other programs to the log: one node at a time, each message once.
//!
//! Every node receives all messages, and keeps them until they are in the log. One node holds the lease and appends them. Each
//! call names the [`CapturePosition`] before and after it. The script refuses the call if the node holds the lease no more, or
//! if another node has moved the position. So the next holder knows where to continue, and a late call changes nothing.

pub(super) mod buffer;

use std::{convert::Infallible, sync::Arc, time::Duration};

use tidings_redis::RedisError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use self::buffer::{BufferStatus, CaptureBuffer, CapturePosition};
use super::append_call::{Append, AppendError, AppendRefusal, Appended, CaptureAppend, LastSeen, NewEvent};
use super::commands::RedisLog;
use super::node_messages::NodeMessage;
use super::sync_state::{SyncPart, SyncState};
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
    name: String,
    /// Captured position in Redis, while the node holds the lease as far as it knows.
    from: Option<String>,
    /// Gap count when the node asked for the lease.
    gaps: u64,
    /// When the node asks for the lease next.
    ask_at: Instant,
    /// When Redis last answered a request for the lease.
    answered_at: Instant,
}

impl Capturer {
    /// Captures until `stop` is set, then appends the messages that are left.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let (name, now) = (self.new_name(), Instant::now());
        let mut cycle = CaptureCycle { name, from: None, gaps: 0, ask_at: now, answered_at: now };
        tokio::select! {
            never = self.run_cycle(&mut cycle) => match never {},
            _ = stop.wait_for(|stop| *stop) => {}
        }
        let patience = (self.lease + END_PATIENCE).min(END_PATIENCE_MAX);
        let _left_or_late = timeout(patience, self.release_lease(&mut cycle)).await;
    }

    fn new_name(&self) -> String {
        format!("{:016x}", (self.random)())
    }

    async fn run_cycle(&self, cycle: &mut CaptureCycle) -> Infallible {
        loop {
            if let Err(fault) = self.step(cycle).await {
                debug!(%fault, "capture was interrupted");
                cycle.ask_at = Instant::now();
                if cycle.answered_at.elapsed() > self.lease {
                    self.sync_state
                        .mark_unhealthy(SyncPart::Capture, format!("redis.capture is interrupted: {fault}"));
                }
                sleep(PAUSE).await;
            }
        }
    }

    /// Runs the next step, or waits for work.
    async fn step(&self, cycle: &mut CaptureCycle) -> Result<(), RedisError> {
        if cycle.gaps != self.buffer.gap_count() && cycle.from.take().is_some() {
            info!("this node missed messages; a node that has them may capture");
            cycle.ask_at = Instant::now();
            // The new name ends the capture even if Redis does not get the release.
            let old = std::mem::replace(&mut cycle.name, self.new_name());
            self.redis_log.release_lease(&old).await?;
        }
        match self.buffer.status() {
            BufferStatus::Disconnected => self.buffer.wait_changed().await,
            BufferStatus::Unpositioned(mark) => {
                self.redis_log.send_node_message(&NodeMessage::Marker(mark)).await?;
                let _ = timeout(MARK_PATIENCE, self.buffer.wait_changed()).await;
            }
            BufferStatus::Positioned => {
                if Instant::now() >= cycle.ask_at {
                    self.acquire_lease(cycle).await?;
                }
                let holds = cycle.from.is_some();
                if !holds || !self.append_next(cycle).await? {
                    tokio::select! {
                        () = sleep_until(cycle.ask_at) => {}
                        () = self.buffer.wait_message(), if holds => {}
                        // The lease may be free now.
                        () = self.buffer.wait_changed() => cycle.ask_at = Instant::now(),
                    }
                }
            }
        }
        Ok(())
    }

    async fn acquire_lease(&self, cycle: &mut CaptureCycle) -> Result<(), RedisError> {
        let interval = (self.lease / ASKED_WITHIN_LEASE).min(ASKED_WITHIN);
        cycle.ask_at = Instant::now() + interval;
        let (marks, gaps) = self.buffer.markers();
        // A node that has received more messages asks within one interval.
        let (is_mine, place) =
            self.redis_log.acquire_lease(&cycle.name, self.lease, 2 * interval, &marks).await?;
        cycle.gaps = gaps;
        self.buffer.acknowledge(CapturePosition::read(&place));
        if gaps == self.buffer.gap_count() {
            self.sync_state.mark_healthy(SyncPart::Capture);
        }
        cycle.answered_at = Instant::now();
        match (is_mine, cycle.from.is_some()) {
            (true, false) => info!("this node captures"),
            (false, true) => warn!("another node captures now"),
            _ => {}
        }
        cycle.from = is_mine.then_some(place);
        Ok(())
    }

    /// Appends some of the waiting messages. Returns false if none waits.
    async fn append_next(&self, cycle: &mut CaptureCycle) -> Result<bool, RedisError> {
        let Some((entries, place)) = self.buffer.next(MESSAGES_MAX, BYTES_MAX, cycle.gaps) else {
            return Ok(false);
        };
        if entries.is_empty() {
            // None of these messages is fit for the log.
            self.buffer.acknowledge(Some(place));
            return Ok(true);
        }
        let (count, to) = (entries.len(), place.to_string());
        let events = entries.into_iter().map(|entry| NewEvent::new(entry, self.random));
        let messages = Append { events: events.collect() };
        let witness = self.sync_state.last_seen();
        let from = cycle.from.as_deref().unwrap_or_default();
        let capture = CaptureAppend { holder: &cycle.name, from, to: &to };
        match self.redis_log.append_captured(messages, witness, capture).await {
            Ok(newest) => {
                self.sync_state.mark_healthy(SyncPart::Append);
                let Appended { offset, tag, .. } = newest;
                self.sync_state.observe(LastSeen { epoch: witness.epoch, offset, tag });
                self.metrics.broker.capture_appended(count);
                self.metrics.events.stored(count);
                self.buffer.acknowledge(Some(place));
                cycle.from = Some(to);
                Ok(true)
            }
            Err(AppendError::Refused(AppendRefusal::Uncaptured)) => {
                cycle.ask_at = Instant::now();
                cycle.from = None;
                Ok(true)
            }
            Err(AppendError::Refused(refused)) => {
                let _ = timeout(ASKED_WITHIN, self.sync_state.reconcile()).await;
                Err(RedisError::NotApplied(refused.to_string()))
            }
            Err(AppendError::Fault(fault)) => {
                self.metrics.log.appends_failed.inc();
                Err(fault)
            }
        }
    }

    /// Waits until every message is in the log, appended by this node or another, then releases the lease.
    async fn release_lease(&self, cycle: &mut CaptureCycle) -> Result<(), RedisError> {
        while !self.buffer.is_empty() {
            if cycle.from.is_none() {
                self.acquire_lease(cycle).await?;
            }
            if cycle.from.is_none() {
                sleep(PAUSE).await;
            } else if !self.append_next(cycle).await? {
                break;
            }
        }
        self.redis_log.release_lease(&cycle.name).await
    }
}
