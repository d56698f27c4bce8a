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

pub(super) use self::buffer::Line;
use self::buffer::{Place, Standing};
use super::{
    Append, AppendError, Appended, Fault, Link, NewEvent, Witness,
    append_call::{Capture, Refused},
    node_messages::Word,
    sync_state::Sight,
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
    pub(super) line: Arc<Line>,
    pub(super) link: Arc<Link>,
    pub(super) sight: Arc<Sight>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) random: fn() -> u64,
    pub(super) lease: Duration,
}

/// What it knows of who captures.
struct Turn {
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
        let mut turn = Turn { me, from: None, holes: 0, ask_at: now, told_at: now };
        tokio::select! {
            never = self.work(&mut turn) => match never {},
            _ = stop.wait_for(|stop| *stop) => {}
        }
        let patience = (self.lease + END_PATIENCE).min(END_PATIENCE_MAX);
        let _left_or_late = timeout(patience, self.leave(&mut turn)).await;
    }

    fn name(&self) -> String {
        format!("{:016x}", (self.random)())
    }

    async fn work(&self, turn: &mut Turn) -> Infallible {
        loop {
            if let Err(fault) = self.step(turn).await {
                debug!(%fault, "capturing was interrupted");
                turn.ask_at = Instant::now();
                if turn.told_at.elapsed() > self.lease {
                    self.sight.is_not_captured(format!("redis.capture stands still: {fault}"));
                }
                sleep(PAUSE).await;
            }
        }
    }

    /// Does what is to be done, or waits for it.
    async fn step(&self, turn: &mut Turn) -> Result<(), Fault> {
        if turn.holes != self.line.holes() && turn.from.take().is_some() {
            info!("something was not heard of redis; a node that has heard it may capture");
            turn.ask_at = Instant::now();
            // Under its old name it captures no more, also where Redis does not hear of this.
            let old = std::mem::replace(&mut turn.me, self.name());
            self.link.release(&old).await?;
        }
        match self.line.standing() {
            Standing::Away => self.line.changed().await,
            Standing::Unmarked(mark) => {
                self.link.say(&Word::Mark(mark)).await?;
                let _ = timeout(MARK_PATIENCE, self.line.changed()).await;
            }
            Standing::Marked => {
                if Instant::now() >= turn.ask_at {
                    self.claim(turn).await?;
                }
                let holds = turn.from.is_some();
                if !holds || !self.append_next(turn).await? {
                    tokio::select! {
                        () = sleep_until(turn.ask_at) => {}
                        () = self.line.heard(), if holds => {}
                        // The lease may be free.
                        () = self.line.changed() => turn.ask_at = Instant::now(),
                    }
                }
            }
        }
        Ok(())
    }

    async fn claim(&self, turn: &mut Turn) -> Result<(), Fault> {
        let interval = (self.lease / ASKED_WITHIN_LEASE).min(ASKED_WITHIN);
        turn.ask_at = Instant::now() + interval;
        let (marks, holes) = self.line.marks();
        // Whoever has heard more asks within one interval.
        let (is_mine, place) = self.link.claim(&turn.me, self.lease, 2 * interval, &marks).await?;
        turn.holes = holes;
        self.line.settle(Place::read(&place));
        if holes == self.line.holes() {
            self.sight.is_captured();
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
    async fn append_next(&self, turn: &mut Turn) -> Result<bool, Fault> {
        let Some((drafts, place)) = self.line.next(MESSAGES_MAX, BYTES_MAX, turn.holes) else {
            return Ok(false);
        };
        if drafts.is_empty() {
            // Nothing of these goes into the log.
            self.line.settle(Some(place));
            return Ok(true);
        }
        let (count, to) = (drafts.len(), place.to_string());
        let events = drafts.into_iter().map(|draft| NewEvent::new(draft, self.random));
        let messages = Append { events: events.collect() };
        let witness = self.sight.witness();
        let from = turn.from.as_deref().unwrap_or_default();
        let capture = Capture { holder: &turn.me, from, to: &to };
        match self.link.append_captured(messages, witness, capture).await {
            Ok(newest) => {
                self.sight.is_written();
                let Appended { offset, tag, .. } = newest;
                self.sight.has_seen(Witness { epoch: witness.epoch, offset, tag });
                self.metrics.captured(count);
                self.line.settle(Some(place));
                turn.from = Some(to);
                Ok(true)
            }
            Err(AppendError::Refused(Refused::Uncaptured)) => {
                turn.ask_at = Instant::now();
                turn.from = None;
                Ok(true)
            }
            Err(AppendError::Refused(refused)) => {
                let _ = timeout(ASKED_WITHIN, self.sight.look_over()).await;
                Err(Fault::NotDone(AppendError::Refused(refused).to_string()))
            }
            Err(AppendError::Fault(fault)) => {
                self.metrics.append_failed();
                Err(fault)
            }
        }
    }

    /// Leaves nothing that it has heard: somebody has appended it, or it does so itself.
    async fn leave(&self, turn: &mut Turn) -> Result<(), Fault> {
        while !self.line.is_empty() {
            if turn.from.is_none() {
                self.claim(turn).await?;
            }
            if turn.from.is_none() {
                sleep(PAUSE).await;
            } else if !self.append_next(turn).await? {
                break;
            }
        }
        self.link.release(&turn.me).await
    }
}
