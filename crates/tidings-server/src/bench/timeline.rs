//! Phases of a run: open, rest, warm up, measure, drain, report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidings_load::{FleetEvent, FleetPublisher};

use super::plan::BenchPlan;
use super::progress::{ProgressLine, ProgressValues};
use super::report::BenchReport;
use super::state::BenchState;
use crate::error_hint;

/// Time without load before the server's memory is read.
const REST: Duration = Duration::from_millis(500);
/// Time without a delivery after which the run stops waiting.
const QUIET_MAX: Duration = Duration::from_secs(3);
/// Interval at which the drain counts undelivered events.
const COUNT_EVERY: Duration = Duration::from_millis(50);

/// Phases of one run.
pub(super) struct Timeline {
    state: BenchState,
    stop: Arc<AtomicBool>,
    progress: ProgressLine,
    /// Deliveries and responses at their last change, and its time.
    alive: (u64, Instant),
}

impl Timeline {
    pub(super) fn new(plan: BenchPlan, stop: Arc<AtomicBool>) -> Result<Self, String> {
        let state = BenchState::new(plan)?;
        Ok(Self { state, stop, progress: ProgressLine::new(), alive: (0, Instant::now()) })
    }

    /// Runs all phases; a signal ends them early.
    ///
    /// # Errors
    /// No stream opened, or the poll failed.
    pub(super) fn run(mut self) -> Result<BenchReport, String> {
        self.open()?;
        self.wait(REST, "resting", false)?;
        self.state.monitor.note_idle();
        self.state.load.start();
        self.wait(self.state.plan.warm_up, "warming up", true)?;
        self.start();
        let begin = self.state.snapshot();
        self.state.streams.plan_storms(self.state.plan.storm);
        self.wait(self.state.plan.seconds, "measuring", true)?;
        let end = self.state.snapshot();
        self.drain()?;
        let used = self.state.monitor.used();
        let drained = self.state.snapshot();
        self.state.monitor.note_after();
        self.state.fleet.settle();
        let was_stopped = self.is_stopped();
        Ok(BenchReport::new(&self.state, [begin, end, drained], used, was_stopped))
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Starts the measured phase: latencies and costs count from here on.
    fn start(&mut self) {
        self.state.fleet.measured_from = self.state.fleet.micros();
        self.state.fleet.latency.reset();
        self.state.fleet.response_latency.reset();
        self.state.load.start();
        self.state.monitor.start();
        self.alive = (self.life(), Instant::now());
    }

    fn open(&mut self) -> Result<(), String> {
        while !self.state.streams.are_begun() && !self.is_stopped() {
            self.state.streams.begin(&self.state.plan, &mut self.state.fleet);
            self.step(Duration::from_millis(2), "opening", None)?;
        }
        if self.state.streams.opened > 0 || self.is_stopped() {
            return Ok(());
        }
        let reasons = self.state.streams.failures.reasons();
        let first = reasons.first().ok_or("no stream was asked for")?;
        let place = &self.state.plan.requests.subscribe.authority;
        let mut fault = format!(
            "none of {} streams of http://{place} opened: {}",
            self.state.streams.total(),
            first.text()
        );
        let wanted = format!("--subscribe '{0}*' --publish '{0}*'", self.state.plan.requests.prefix());
        if let Some(hint) =
            error_hint::auth_hint(first.status, first.code.as_deref(), self.state.plan.has_token)
        {
            fault = format!("{fault}; {}", hint.replace("WANTED", &wanted));
        } else if first.status.is_none() {
            fault = format!("{fault}; see that a server listens there");
        }
        Err(fault)
    }

    /// Runs one phase, with load or without.
    fn wait(&mut self, time: Duration, phase: &str, is_loaded: bool) -> Result<(), String> {
        let begun = Instant::now();
        while begun.elapsed() < time && !self.is_stopped() && !self.state.is_server_gone {
            let left = time.saturating_sub(begun.elapsed());
            let mut idle = left;
            if is_loaded {
                self.state.streams.storm(&self.state.plan, &mut self.state.fleet);
                idle = idle.min(self.state.load.send(
                    &self.state.plan,
                    &mut self.state.fleet,
                    &self.state.streams.open_on,
                ));
            }
            self.step(idle, phase, Some(left))?;
        }
        Ok(())
    }

    /// Waits until every published event has arrived, or deliveries stop.
    fn drain(&mut self) -> Result<(), String> {
        let mut counted = Instant::now();
        let mut is_whole = false;
        self.alive.1 = Instant::now();
        while !is_whole && self.alive.1.elapsed() < QUIET_MAX && !self.state.is_server_gone {
            self.step(Duration::from_millis(10), "draining", None)?;
            if counted.elapsed() >= COUNT_EVERY || self.state.plan.connections < 1_000 {
                counted = Instant::now();
                let are_answered = self.state.fleet.publishers().iter().all(FleetPublisher::is_idle);
                let is_up = self.state.streams.away(&self.state.fleet) == 0;
                is_whole = are_answered && is_up && self.state.fleet.pending() == 0;
            }
        }
        Ok(())
    }

    /// Polls once, and handles the events of streams and publishers.
    fn step(&mut self, idle: Duration, phase: &str, left: Option<Duration>) -> Result<(), String> {
        self.state.fleet.poll(idle).map_err(|error| format!("cannot wait for sockets: {error}"))?;
        for event in self.state.fleet.events() {
            match event {
                FleetEvent::Opened { stream, after, .. } => {
                    self.state.streams.note_opened(&self.state.fleet, stream, after);
                }
                FleetEvent::Refused { stream, failure } => self.state.streams.note_refused(stream, &failure),
                FleetEvent::Closed { stream, was_announced, .. } => {
                    self.state.streams.note_closed(&self.state.fleet, stream, was_announced);
                }
                FleetEvent::Unpublished { publisher, failure } => {
                    self.state.publish_failures.note(&failure);
                    self.state.load.rest(publisher);
                }
            }
        }
        self.state.streams.reopen_due(&self.state.plan, &mut self.state.fleet);
        self.state.monitor.sample();
        self.check_alive();
        if self.progress.is_due() {
            let latency = &self.state.fleet.latency;
            self.progress.show(ProgressValues {
                phase,
                left,
                open: self.state.streams.open,
                asked: self.state.plan.connections,
                received: self.state.fleet.counts.received,
                lost: self.state.fleet.counts.lost,
                p50: latency.value_at_quantile(0.5),
                p99: latency.value_at_quantile(0.99),
            });
        }
        Ok(())
    }

    fn life(&self) -> u64 {
        self.state.fleet.counts.received + self.state.fleet.responses
    }

    /// Marks the server as gone after [`QUIET_MAX`] without a stream, a delivery and a response.
    fn check_alive(&mut self) {
        let life = self.life();
        if life != self.alive.0 {
            self.alive = (life, Instant::now());
        } else if self.state.streams.are_begun()
            && self.state.streams.open == 0
            && self.state.plan.connections > 0
            && self.alive.1.elapsed() > QUIET_MAX
        {
            self.state.is_server_gone = true;
        }
    }
}
