//! A phase with one server: publishers, subscribers, restarts, and the comparison at the end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidings_protocol::body::GapReason;
use tidings_protocol::{EventId, Subscription};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::channel_history::{self, ChannelHistory};
use crate::counters::{Counters, add, get};
use crate::oracle::{
    GapRule, LocatedEvent, LogPosition, Oracle, PhaseRules, ReconstructedLog, SubscriberHistory,
    compare_history, compare_record, label_of,
};
use crate::publisher::NumberedPublisher;
use crate::random::{derive_seed, millis};
use crate::report::PhaseReport;
use crate::server::HubServer;
use crate::stream_plan::{ReaderAction, StreamStage};
use crate::subscriber::{DrainTargets, FaultySubscriber, SubscriberOptions};
use crate::violation::{Violation, ViolationKind};
use crate::{channels, http};

/// Longest time in which subscribers catch up after the last publish, and in which a history is read.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);

/// Shortest phase that must meet every condition.
const EXERCISED_MIN: Duration = Duration::from_secs(6);

/// Fewest subscribers that must inject a fault at every stage.
const FAULTY_SUBSCRIBERS_MIN: usize = 40;

/// Longest time in which the server may count streams of readers that have gone.
const LEFT_OVER_DEADLINE: Duration = Duration::from_secs(10);

/// Events on a page of history.
const PAGE_EVENTS: usize = 200;

/// Settings of one phase.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) durability: &'static str,
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) publishers: u32,
    pub(crate) subscribers: usize,
    pub(crate) channels: usize,
    pub(crate) has_restarts: bool,
    pub(crate) gaps: GapRule,
}

/// Shared parts of a running phase.
struct PhaseRun<'a> {
    phase: &'a Phase,
    address: SocketAddr,
    oracle: Arc<Oracle>,
    counters: Arc<Counters>,
}

impl Phase {
    /// Runs the phase in a directory of its own; `is_shown` prints the counts each second.
    pub(crate) async fn run(&self, binary: &Path, directory: &Path, is_shown: bool) -> PhaseReport {
        let mut violations = Vec::new();
        let counters = Arc::new(Counters::default());
        match HubServer::start(binary, directory, &self.settings()).await {
            Err(text) => violations.push(Violation::restart(text)),
            Ok(server) => {
                let progress =
                    is_shown.then(|| tokio::spawn(show_progress(self.clone(), Arc::clone(&counters))));
                let names = (0..self.channels).map(channels::name).collect();
                let is_memory = self.gaps == GapRule::EachEpoch;
                let run = PhaseRun {
                    phase: self,
                    address: server.address(),
                    oracle: Arc::new(Oracle::new(names, self.publishers as usize + 1, is_memory)),
                    counters: Arc::clone(&counters),
                };
                violations = run.drive(server).await;
                if let Some(progress) = progress {
                    progress.abort();
                    let _ = progress.await;
                    eprint!("\r\x1b[K");
                }
            }
        }
        violations.extend(self.not_exercised(&counters));
        let counters = Arc::into_inner(counters).expect("every task of the phase has ended");
        PhaseReport { name: self.name, counters, violations }
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let retention_events = match self.gaps {
            GapRule::Trimmed { retention_events } => retention_events,
            GapRule::Never | GapRule::EachEpoch => 10_000_000,
        };
        vec![
            ("TIDINGS_LOG_DURABILITY", self.durability.into()),
            ("TIDINGS_LOG_RETENTION_EVENTS", retention_events.to_string()),
            ("TIDINGS_LOG_RETENTION_BYTES", "8GiB".into()),
            // Frequent positions: cuts meet some of them.
            ("TIDINGS_STREAM_KEEP_ALIVE", "1s".into()),
        ]
    }

    fn not_exercised(&self, counters: &Counters) -> Vec<Violation> {
        let mut needed = vec![
            ("acknowledged events", get(&counters.acknowledged)),
            ("deliveries", get(&counters.deliveries)),
        ];
        if self.time < EXERCISED_MIN {
            return Violation::not_exercised(needed);
        }
        needed.push(("resumes", get(&counters.resumes)));
        if self.has_restarts {
            needed.push(("restarts", counters.restarts()));
        }
        match self.gaps {
            GapRule::Never => {}
            GapRule::EachEpoch => {
                let gaps = counters.gaps(GapReason::Epoch) + counters.gaps(GapReason::Ahead);
                needed.push(("gaps after restarts", gaps));
            }
            GapRule::Trimmed { .. } => needed.push(("gaps after trims", counters.gaps(GapReason::Trimmed))),
        }
        let stages = StreamStage::ALL.into_iter().filter(|stage| {
            self.subscribers >= FAULTY_SUBSCRIBERS_MIN
                && (*stage != StreamStage::Ending || get(&counters.graceful_restarts) > 0)
        });
        let faults: Vec<_> = stages
            .map(|stage| {
                let counts = ReaderAction::ALL.iter().map(|&action| counters.reader_faults(stage, action));
                (format!("faults of readers at the stage {}", stage.as_str()), counts.sum::<u64>())
            })
            .collect();
        needed.extend(faults.iter().map(|(condition, count)| (condition.as_str(), *count)));
        Violation::not_exercised(needed)
    }
}

impl PhaseRun<'_> {
    /// Runs publishers, subscribers and restarts, and compares all observations with the oracle.
    async fn drive(&self, mut server: HubServer) -> Vec<Violation> {
        let (drain, drained) = watch::channel(None);
        let (ending, _) = watch::channel(0);
        let mut subscribers = JoinSet::new();
        for index in 0..self.phase.subscribers {
            subscribers.spawn(self.subscriber(index, &ending).run(drained.clone()));
        }
        let (stop, stopped) = watch::channel(false);
        let mut publishers = JoinSet::new();
        for index in 0..self.phase.publishers {
            publishers.spawn(self.publisher(index, index % 3 == 0).run(stopped.clone()));
        }
        let (mut violations, is_up) = self.inject_restarts(&mut server, &ending).await;
        stop.send_replace(true);
        if !is_up {
            publishers.shutdown().await;
            subscribers.shutdown().await;
            violations.extend(server.panic().map(Violation::restart));
            return violations;
        }
        while let Some(found) = publishers.join_next().await {
            violations.extend(found.expect("publishers do not panic"));
        }
        violations.extend(self.publisher(self.phase.publishers, true).close().await);
        let targets = self.targets();
        drain.send_replace(Some(DrainTargets {
            targets: Arc::new(targets.clone()),
            deadline: Instant::now() + DRAIN_DEADLINE,
        }));
        let mut records = Vec::new();
        while let Some(done) = subscribers.join_next().await {
            let (record, found) = done.expect("subscribers do not panic");
            records.push(record);
            violations.extend(found);
        }
        records.sort_by_key(|record: &SubscriberHistory| record.subscriber);
        violations.extend(self.left_over().await);
        violations.extend(self.compare(&records, &PhaseRules { gaps: self.phase.gaps, targets }).await);
        violations.extend(server.unasked_end().or(server.terminate().await.err()).map(Violation::restart));
        violations.extend(server.panic().map(Violation::restart));
        violations
    }

    /// Kills and restarts the server until the time is over; returns whether it is up at the end.
    async fn inject_restarts(
        &self,
        server: &mut HubServer,
        ending: &watch::Sender<u64>,
    ) -> (Vec<Violation>, bool) {
        let mut rng = StdRng::seed_from_u64(self.phase.seed ^ 0x7e57);
        let mut violations = Vec::new();
        let end = Instant::now() + self.phase.time;
        loop {
            let pause = millis(&mut rng, 1000, 4000);
            if !self.phase.has_restarts || Instant::now() + pause >= end {
                sleep_until(end).await;
                let ended = server.unasked_end();
                let is_up = ended.is_none();
                violations.extend(ended.map(Violation::restart));
                return (violations, is_up);
            }
            sleep(pause).await;
            violations.extend(server.unasked_end().map(Violation::restart));
            let ended = if rng.random_bool(0.65) {
                add(&self.counters.kills, 1);
                server.kill().await
            } else {
                add(&self.counters.graceful_restarts, 1);
                ending.send_modify(|count| *count += 1);
                server.terminate().await
            };
            violations.extend(ended.err().map(Violation::restart));
            sleep(millis(&mut rng, 0, 300)).await;
            if let Err(text) = server.restart().await {
                violations.push(Violation::restart(text));
                return (violations, false);
            }
        }
    }

    fn subscriber(&self, index: usize, ending: &watch::Sender<u64>) -> FaultySubscriber {
        let seed = derive_seed(self.phase.seed, 1 << 32 | index as u64);
        let mut rng = StdRng::seed_from_u64(!seed);
        let is_trimming = matches!(self.phase.gaps, GapRule::Trimmed { .. });
        let is_long_away = is_trimming && rng.random_bool(0.5);
        let options = SubscriberOptions {
            index,
            subscriptions: self.subscriptions(&mut rng),
            address: self.address,
            seed,
            wants_history: self.phase.gaps == GapRule::Never && rng.random_bool(0.15),
            absence_max: Duration::from_millis(if is_long_away { 4000 } else { 300 }),
            ending: ending.subscribe(),
        };
        FaultySubscriber::new(options, Arc::clone(&self.oracle), Arc::clone(&self.counters))
    }

    fn subscriptions(&self, rng: &mut StdRng) -> Vec<Subscription> {
        let patterns = ["check.strict.*", "check.*.*", "check:loose:*", "check:**", "check.**"];
        let channel = |rng: &mut StdRng| channels::name(rng.random_range(0..self.phase.channels));
        let mut texts = match rng.random_range(0..20) {
            0..8 => vec![channel(rng)],
            8..13 => (0..rng.random_range(2..=4)).map(|_| channel(rng)).collect(),
            13..15 => vec![channel(rng), patterns[rng.random_range(0..patterns.len())].to_owned()],
            15..18 => vec![patterns[rng.random_range(0..patterns.len())].to_owned()],
            _ => vec!["**".to_owned()],
        };
        texts.sort();
        texts.dedup();
        texts.iter().map(|text| Subscription::parse(text).expect("these names are valid")).collect()
    }

    fn publisher(&self, index: u32, is_idempotent: bool) -> NumberedPublisher {
        let seed = derive_seed(self.phase.seed, 2 << 32 | u64::from(index));
        let (oracle, counters) = (Arc::clone(&self.oracle), Arc::clone(&self.counters));
        NumberedPublisher::new(index, is_idempotent, self.address, seed, oracle, counters)
    }

    /// Positions of the last publisher's events, by channel; the beginning for one that was not acknowledged.
    fn targets(&self) -> Vec<LogPosition> {
        let mut targets = vec![LogPosition { generation: 0, offset: 0 }; self.phase.channels];
        for message in self.oracle.messages().get(self.phase.publishers as usize).into_iter().flatten() {
            if let Some(position) = message.positions.last() {
                message.channels.iter().for_each(|&channel| targets[channel] = *position);
            }
        }
        targets
    }

    /// Compares all observations and the history of each channel with the oracle.
    async fn compare(&self, records: &[SubscriberHistory], rules: &PhaseRules) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut histories = Vec::new();
        for name in &self.oracle.channels {
            let reading = channel_history::read(self.address, name, PAGE_EVENTS);
            let Ok(history) = timeout(DRAIN_DEADLINE, reading).await else {
                let text = format!("history of {name} was not read in time");
                violations.push(Violation::new(ViolationKind::Stuck, text));
                histories.push(Vec::new());
                continue;
            };
            histories.push(self.locate(name, history, &mut violations));
        }
        let (log, found) = ReconstructedLog::build(&self.oracle, records, &histories.concat());
        violations.extend(found);
        for record in records {
            violations.extend(compare_record(&log, record, rules));
        }
        for (channel, history) in histories.iter().enumerate() {
            violations.extend(compare_history(&log, channel, history, rules));
        }
        violations
    }

    /// Checks the content of a channel's history, and returns the positions of its events.
    fn locate(
        &self,
        name: &str,
        history: ChannelHistory,
        violations: &mut Vec<Violation>,
    ) -> Vec<LocatedEvent> {
        let ChannelHistory { events, gaps, error } = history;
        let mut report =
            |kind, text| violations.push(Violation::new(kind, format!("history of {name}: {text}")));
        error.into_iter().for_each(|text| report(ViolationKind::BrokenProtocol, text));
        gaps.iter().for_each(|gap| {
            report(ViolationKind::SpuriousGap, format!("{gap:?}; all events were published before"));
        });
        let mut located = Vec::new();
        for event in events {
            let id = event.id.parse::<EventId>().ok().filter(|id| id.offset == event.offset);
            let label = label_of(&event.data).filter(|label| self.oracle.knows(*label));
            let (Some(id), Some(label)) = (id, label) else {
                report(ViolationKind::WrongContent, format!("{event:?}"));
                continue;
            };
            if let Err(text) = self.oracle.check_content(label, event.event.as_deref(), &event.data) {
                report(ViolationKind::WrongContent, text);
            }
            located.push((label, self.oracle.position(&id)));
        }
        located
    }

    /// Waits until the server counts no stream; all subscribers have gone.
    async fn left_over(&self) -> Option<Violation> {
        let deadline = Instant::now() + LEFT_OVER_DEADLINE;
        loop {
            let metrics = match http::get(self.address, "/metrics").await {
                Ok((200, body)) => String::from_utf8_lossy(&body).into_owned(),
                Ok((status, _)) => return Some(broken_metrics(status)),
                Err(error) => return Some(broken_metrics(error)),
            };
            let streams = metrics.lines().find_map(|line| line.strip_prefix("tidings_streams_open "));
            if streams == Some("0") {
                return None;
            }
            if Instant::now() >= deadline {
                let seconds = LEFT_OVER_DEADLINE.as_secs();
                let text = format!("{streams:?} streams are counted {seconds} s after the last reader left");
                return Some(Violation::new(ViolationKind::LeftOver, text));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn broken_metrics(outcome: impl std::fmt::Display) -> Violation {
    Violation::new(ViolationKind::BrokenProtocol, format!("GET /metrics returned {outcome}"))
}

async fn show_progress(phase: Phase, counters: Arc<Counters>) {
    let begun = Instant::now();
    loop {
        let (published, deliveries) = (get(&counters.published), get(&counters.deliveries));
        let (resumes, restarts) = (get(&counters.resumes), counters.restarts());
        let (name, seconds, all) = (phase.name, begun.elapsed().as_secs(), phase.time.as_secs());
        eprint!(
            "\r\x1b[K{name} {seconds}/{all} s: {published} published, {deliveries} deliveries, {resumes} resumes, \
             {restarts} restarts"
        );
        sleep(Duration::from_secs(1)).await;
    }
}
