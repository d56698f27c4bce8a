//! The course of a run: open, rest, warm up, measure, drain, report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidings_load::{Notice, Swarm};

use super::load::Load;
use super::plan::Plan;
use super::progress::{Now, Progress};
use super::record::Failures;
use super::report::Report;
use super::streams::Streams;
use super::watch::Watch;
use crate::error_hint;

/// How long the streams are left alone before the server's memory is read and events are sent.
const REST: Duration = Duration::from_millis(500);
/// After so long without a delivery nothing is waited for any more.
const QUIET_MAX: Duration = Duration::from_secs(3);
/// How often streams that are still to get something are counted at the end.
const COUNT_EVERY: Duration = Duration::from_millis(50);

/// One run.
pub(super) struct Course {
    pub(super) plan: Plan,
    stop: Arc<AtomicBool>,
    pub(super) swarm: Swarm,
    pub(super) load: Load,
    pub(super) streams: Streams,
    pub(super) publish_failures: Failures,
    pub(super) watch: Watch,
    progress: Progress,
    /// Deliveries and answers when there was last one, and when.
    alive: (u64, Instant),
    /// Whether it ended early since there was no server any more.
    pub(super) is_server_gone: bool,
}

/// Counts at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) requests: u64,
    pub(super) events: u64,
    pub(super) received: u64,
}

impl Course {
    pub(super) fn new(plan: Plan, stop: Arc<AtomicBool>) -> Result<Self, String> {
        let mut swarm = Swarm::new(plan.run, plan.channels as usize, plan.lanes_each())
            .map_err(|error| format!("cannot watch sockets: {error}"))?;
        Ok(Self {
            load: Load::new(&plan, &mut swarm),
            streams: Streams::new(&plan),
            publish_failures: Failures::default(),
            watch: Watch::new(plan.processes.clone()),
            progress: Progress::new(),
            alive: (0, Instant::now()),
            is_server_gone: false,
            stop,
            swarm,
            plan,
        })
    }

    /// Runs to the end, or until it is stopped.
    ///
    /// # Errors
    /// Where no stream opened at all, or the system fails.
    pub(super) fn run(mut self) -> Result<Report, String> {
        self.open()?;
        self.wait(REST, "resting", false)?;
        self.watch.note_idle();
        self.load.start();
        self.wait(self.plan.warm_up, "warming up", true)?;
        self.start();
        let begin = self.moment();
        self.streams.plan_storms(self.plan.storm);
        self.wait(self.plan.seconds, "measuring", true)?;
        let end = self.moment();
        self.drain()?;
        let used = self.watch.used();
        let drained = self.moment();
        self.watch.note_after();
        self.swarm.settle();
        let was_stopped = self.is_stopped();
        Ok(Report::new(&self, [begin, end, drained], used, was_stopped))
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// From here on latencies and costs count.
    fn start(&mut self) {
        self.swarm.measured_from = self.swarm.micros();
        self.swarm.latency.reset();
        self.swarm.answer_latency.reset();
        self.load.start();
        self.watch.start();
        self.alive = (self.life(), Instant::now());
    }

    fn moment(&self) -> Moment {
        Moment {
            at: Instant::now(),
            requests: self.load.sent,
            events: self.load.events,
            received: self.swarm.tally.received,
        }
    }

    fn open(&mut self) -> Result<(), String> {
        while !self.streams.are_begun() && !self.is_stopped() {
            self.streams.begin(&self.plan, &mut self.swarm);
            self.turn(Duration::from_millis(2), "opening", None)?;
        }
        if self.streams.opened > 0 || self.is_stopped() {
            return Ok(());
        }
        let reasons = self.streams.failures.reasons();
        let first = reasons.first().ok_or("no stream was asked for")?;
        let place = &self.plan.requests.subscribe.authority;
        let mut fault =
            format!("none of {} streams of http://{place} opened: {}", self.streams.total(), first.text());
        let wanted = format!("--subscribe '{0}*' --publish '{0}*'", self.plan.requests.prefix());
        if let Some(hint) = error_hint::auth_hint(first.status, first.code.as_deref(), self.plan.has_token) {
            fault = format!("{fault}; {}", hint.replace("WANTED", &wanted));
        } else if first.status.is_none() {
            fault = format!("{fault}; see that a server listens there");
        }
        Err(fault)
    }

    /// Lets time pass, with load or without.
    fn wait(&mut self, time: Duration, phase: &str, is_loaded: bool) -> Result<(), String> {
        let begun = Instant::now();
        while begun.elapsed() < time && !self.is_stopped() && !self.is_server_gone {
            let left = time.saturating_sub(begun.elapsed());
            let mut idle = left;
            if is_loaded {
                self.streams.storm(&self.plan, &mut self.swarm);
                idle = idle.min(self.load.send(&self.plan, &mut self.swarm, &self.streams.open_on));
            }
            self.turn(idle, phase, Some(left))?;
        }
        Ok(())
    }

    /// Waits until everything that was published has come, or nothing comes any more.
    fn drain(&mut self) -> Result<(), String> {
        let mut counted = Instant::now();
        let mut is_whole = false;
        self.alive.1 = Instant::now();
        while !is_whole && self.alive.1.elapsed() < QUIET_MAX && !self.is_server_gone {
            self.turn(Duration::from_millis(10), "draining", None)?;
            if counted.elapsed() >= COUNT_EVERY || self.plan.connections < 1_000 {
                counted = Instant::now();
                let are_answered = (0..self.swarm.publishers()).all(|at| self.swarm.is_idle(at));
                let is_up = self.streams.away(&self.swarm) == 0;
                is_whole = are_answered && is_up && self.swarm.pending() == 0;
            }
        }
        Ok(())
    }

    /// Reads and writes what is ready, and looks after the streams.
    fn turn(&mut self, idle: Duration, phase: &str, left: Option<Duration>) -> Result<(), String> {
        self.swarm.poll(idle).map_err(|error| format!("cannot wait for sockets: {error}"))?;
        for notice in self.swarm.notices() {
            match notice {
                Notice::Opened { stream, after, .. } => self.streams.note_opened(&self.swarm, stream, after),
                Notice::Refused { stream, failure } => self.streams.note_refused(stream, &failure),
                Notice::Closed { stream, was_told, .. } => {
                    self.streams.note_closed(&self.swarm, stream, was_told);
                }
                Notice::Unpublished { publisher, failure } => {
                    self.publish_failures.note(&failure);
                    self.load.rest(publisher);
                }
            }
        }
        self.streams.bring_back(&self.plan, &mut self.swarm);
        self.watch.sample();
        self.look_for_life();
        if self.progress.is_due() {
            let latency = &self.swarm.latency;
            self.progress.show(Now {
                phase,
                left,
                open: self.streams.open,
                asked: self.plan.connections,
                received: self.swarm.tally.received,
                lost: self.swarm.tally.lost,
                p50: latency.value_at_quantile(0.5),
                p99: latency.value_at_quantile(0.99),
            });
        }
        Ok(())
    }

    fn life(&self) -> u64 {
        self.swarm.tally.received + self.swarm.answers
    }

    /// A server without a stream, a delivery or an answer for a while has gone.
    fn look_for_life(&mut self) {
        let life = self.life();
        if life != self.alive.0 {
            self.alive = (life, Instant::now());
        } else if self.streams.are_begun()
            && self.streams.open == 0
            && self.plan.connections > 0
            && self.alive.1.elapsed() > QUIET_MAX
        {
            self.is_server_gone = true;
        }
    }
}
