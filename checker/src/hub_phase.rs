//! A phase with one hub that is killed and restarted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use tidings_protocol::body::GapReason;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client_context::ClientSettings;
use crate::counters::{Count, Counters};
use crate::history::History;
use crate::hub_server::HubServer;
use crate::oracle::LossRule;
use crate::phase::{Cluster, PhaseRun};
use crate::random::{millis, rng};
use crate::report::PhaseReport;
use crate::stream_plan::{ReaderAction, StreamStage};
use crate::violation::Violation;

/// Shortest phase that must meet every condition.
const EXERCISED_MIN: Duration = Duration::from_secs(6);
/// Fewest readers that must inject a fault at every stage.
const FAULTY_READERS_MIN: usize = 40;

/// Settings of one phase.
#[derive(Clone, Debug)]
pub(crate) struct HubPhase {
    pub(crate) name: &'static str,
    pub(crate) durability: &'static str,
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) publishers: u32,
    pub(crate) readers: usize,
    pub(crate) channels: usize,
    pub(crate) has_restarts: bool,
    pub(crate) rule: LossRule,
}

impl HubPhase {
    /// Runs the phase in a directory of its own.
    pub(crate) async fn run(&self, binary: &Path, directory: &Path) -> PhaseReport {
        // Every third channel has priorities and keys.
        let name = |channel: usize| match channel % 3 {
            2 => format!("check:loose:{channel}"),
            _ => format!("check.strict.{channel}"),
        };
        let channels = (0..self.channels).map(name).collect();
        let run = PhaseRun {
            name: self.name,
            time: self.time,
            rule: self.rule,
            clients: self.clients(),
            history: Arc::new(History::new(channels, self.rule == LossRule::EachEpoch)),
            counters: Arc::default(),
        };
        let mut violations = match HubServer::start(binary, directory, None, &self.settings()).await {
            Err(text) => vec![Violation::process_fault(text)],
            Ok(server) => {
                let (rng, has_restarts) = (rng(self.seed, 0), self.has_restarts);
                run.drive(&mut RestartedHub { server, rng, has_restarts }).await.violations
            }
        };
        violations.extend(self.not_exercised(&run.counters));
        run.write_schedule(&violations, directory);
        PhaseReport { name: self.name, counters: run.counters, violations }
    }

    fn clients(&self) -> ClientSettings {
        ClientSettings {
            seed: self.seed,
            publishers: self.publishers,
            idempotent: 0.4,
            pad_max: 300,
            pauses_max: &[40],
            readers: self.readers,
            patterns: &["check.strict.*", "check.*.*", "check:loose:*", "check:**", "check.**"],
            with_history: if self.rule == LossRule::Never { 0.15 } else { 0.0 },
            has_reader_faults: true,
            long_absences: if matches!(self.rule, LossRule::Trimmed { .. }) { 0.3 } else { 0.0 },
        }
    }

    fn settings(&self) -> [(&'static str, String); 3] {
        let retention_events = match self.rule {
            LossRule::Trimmed { retention_events } => retention_events,
            _ => 10_000_000,
        };
        [
            ("TIDINGS_LOG_DURABILITY", self.durability.into()),
            ("TIDINGS_LOG_RETENTION_EVENTS", retention_events.to_string()),
            ("TIDINGS_LOG_RETENTION_BYTES", "8GiB".into()),
        ]
    }

    fn not_exercised(&self, counters: &Counters) -> Vec<Violation> {
        let mut needed = counters.traffic();
        if self.time < EXERCISED_MIN {
            // A short phase need not resume a stream.
            needed.retain(|(condition, _)| condition != "resumes");
            return Violation::not_exercised(needed);
        }
        if self.has_restarts {
            needed.push(("restarts".into(), counters.restarts()));
        }
        match self.rule {
            LossRule::EachEpoch => {
                let gaps = counters.gaps(GapReason::Epoch) + counters.gaps(GapReason::Ahead);
                needed.push(("gaps after restarts".into(), gaps));
            }
            LossRule::Trimmed { .. } => {
                needed.push(("gaps after trims".into(), counters.gaps(GapReason::Trimmed)));
            }
            _ => {}
        }
        let stages = StreamStage::ALL.into_iter().filter(|stage| {
            self.readers >= FAULTY_READERS_MIN
                && (*stage != StreamStage::Ending || counters.get(Count::GracefulRestarts) > 0)
        });
        needed.extend(stages.map(|stage| {
            let counts = ReaderAction::ALL.iter().map(|&action| counters.reader_faults(stage, action));
            (format!("faults of readers at the stage {}", stage.as_str()), counts.sum())
        }));
        Violation::not_exercised(needed)
    }
}

/// A hub that is killed or terminated, and restarted on the same port and directory.
struct RestartedHub {
    server: HubServer,
    rng: StdRng,
    has_restarts: bool,
}

impl Cluster for RestartedHub {
    fn servers(&mut self) -> &mut [HubServer] {
        std::slice::from_mut(&mut self.server)
    }

    async fn inject_faults(&mut self, run: &PhaseRun) -> Result<(), String> {
        let end = Instant::now() + run.time;
        loop {
            let pause = millis(&mut self.rng, 1000, 4000);
            if !self.has_restarts || Instant::now() + pause >= end {
                sleep_until(end).await;
                return self.server.unasked_end().map_or(Ok(()), Err);
            }
            sleep(pause).await;
            run.end_server(&mut self.server, &mut self.rng, 0.65).await?;
            sleep(millis(&mut self.rng, 0, 300)).await;
            self.server.restart().await?;
        }
    }
}
