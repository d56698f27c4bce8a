//! One phase: a server, its publishers, subscribers and restarts, and the comparison at the end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidings_protocol::Subscription;
use tidings_protocol::body::GapReason;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::publisher::Publisher;
use crate::report::{Fault, FaultKind, Figures, PhaseReport, add, get};
use crate::server::Server;
use crate::subscriber::{Act, Drain, Options, Stage, Subscriber};
use crate::truth::{Gaps, Label, Log, Place, Record, Rules, Truth, compare_history, compare_record};
use crate::{history, http};

/// How long subscribers may take to catch up once everything is published.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);

/// Phases shorter than this need not have met every kind of trouble.
const EXERCISED_MIN: Duration = Duration::from_secs(6);

/// Phases with fewer subscribers need not have met trouble at every stage.
const TROUBLED_MIN: usize = 40;

/// How long the server may count streams whose readers have gone.
const LEFT_OVER_DEADLINE: Duration = Duration::from_secs(10);

/// What makes one phase.
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
    pub(crate) gaps: Gaps,
}

/// Whether only events without key and priority go to a channel.
pub(crate) fn is_strict_channel(channel: usize) -> bool {
    channel % 3 != 2
}

fn channel_name(channel: usize) -> String {
    if is_strict_channel(channel) {
        format!("check.strict.{channel}")
    } else {
        format!("check:loose:{channel}")
    }
}

impl Phase {
    /// Runs the phase in a directory of its own; `show` is told the counts each second.
    pub(crate) async fn run(&self, binary: &Path, directory: &Path, show: bool) -> PhaseReport {
        let mut faults = Vec::new();
        let figures = Arc::new(Figures::default());
        match Server::start(binary, directory, &self.settings()).await {
            Err(text) => faults.push(Fault::new(FaultKind::Restart, text)),
            Ok(server) => {
                let progress = show.then(|| tokio::spawn(show_progress(self.clone(), Arc::clone(&figures))));
                faults = self.run_with(server, &figures).await;
                if let Some(progress) = progress {
                    progress.abort();
                    let _ = progress.await;
                    eprint!("\r\x1b[K");
                }
            }
        }
        faults.extend(self.not_exercised(&figures));
        let figures = Arc::into_inner(figures).expect("every task of the phase has ended");
        PhaseReport { name: self.name, figures, faults }
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let retention_events = match self.gaps {
            Gaps::Trimmed { retention_events } => retention_events,
            Gaps::Never | Gaps::EachEpoch => 10_000_000,
        };
        vec![
            ("TIDINGS_LOG_DURABILITY", self.durability.into()),
            ("TIDINGS_LOG_RETENTION_EVENTS", retention_events.to_string()),
            ("TIDINGS_LOG_RETENTION_BYTES", "8GiB".into()),
            // Positions come often enough to be met by cuts.
            ("TIDINGS_STREAM_KEEP_ALIVE", "1s".into()),
        ]
    }

    async fn run_with(&self, mut server: Server, figures: &Arc<Figures>) -> Vec<Fault> {
        let address = server.address();
        let names = (0..self.channels).map(channel_name).collect();
        let is_memory = self.gaps == Gaps::EachEpoch;
        let truth = Arc::new(Truth::new(names, self.publishers as usize + 1, is_memory));
        let (drain, drained) = watch::channel(None);
        let (ending, _) = watch::channel(0);
        let mut subscribers = JoinSet::new();
        for index in 0..self.subscribers {
            let subscriber = Subscriber::new(
                self.subscriber(index, address, &ending),
                Arc::clone(&truth),
                Arc::clone(figures),
            );
            subscribers.spawn(subscriber.run(drained.clone()));
        }
        let (stop, stopped) = watch::channel(false);
        let mut publishers = JoinSet::new();
        for index in 0..self.publishers {
            let publisher = self.publisher(index, index % 3 == 0, address, &truth, figures);
            publishers.spawn(publisher.run(stopped.clone()));
        }
        let (mut faults, is_up) = self.trouble(&mut server, figures, &ending).await;
        stop.send_replace(true);
        if !is_up {
            publishers.shutdown().await;
            subscribers.shutdown().await;
            faults.extend(server.panic().map(restart_fault));
            return faults;
        }
        while let Some(found) = publishers.join_next().await {
            faults.extend(found.expect("publishers do not panic"));
        }
        faults.extend(self.publisher(self.publishers, true, address, &truth, figures).close().await);
        let targets = Arc::new(self.targets(&truth));
        drain.send_replace(Some(Drain {
            targets: Arc::clone(&targets),
            deadline: Instant::now() + DRAIN_DEADLINE,
        }));
        let mut records = Vec::new();
        while let Some(done) = subscribers.join_next().await {
            let (record, found) = done.expect("subscribers do not panic");
            records.push(record);
            faults.extend(found);
        }
        records.sort_by_key(|record: &Record| record.subscriber);
        let rules = Rules { gaps: self.gaps, targets: targets.to_vec() };
        faults.extend(left_over(address).await);
        faults.extend(compare(address, &truth, &records, &rules).await);
        faults.extend(server.unasked_end().or(server.terminate().await.err()).map(restart_fault));
        faults.extend(server.panic().map(restart_fault));
        faults
    }

    /// Kills and restarts the server until the time is over, and returns whether it is up at the end.
    async fn trouble(
        &self,
        server: &mut Server,
        figures: &Figures,
        ending: &watch::Sender<u64>,
    ) -> (Vec<Fault>, bool) {
        let mut rng = StdRng::seed_from_u64(self.seed ^ 0x7e57);
        let mut faults = Vec::new();
        let end = Instant::now() + self.time;
        loop {
            let pause = Duration::from_millis(rng.random_range(1000..=4000));
            if !self.has_restarts || Instant::now() + pause >= end {
                tokio::time::sleep_until(end).await;
                let ended = server.unasked_end();
                let is_up = ended.is_none();
                faults.extend(ended.map(restart_fault));
                return (faults, is_up);
            }
            sleep(pause).await;
            faults.extend(server.unasked_end().map(restart_fault));
            let ended = if rng.random_bool(0.65) {
                add(&figures.kills, 1);
                server.kill().await
            } else {
                add(&figures.graceful_restarts, 1);
                ending.send_modify(|count| *count += 1);
                server.terminate().await
            };
            faults.extend(ended.err().map(restart_fault));
            sleep(Duration::from_millis(rng.random_range(0..=300))).await;
            if let Err(text) = server.restart().await {
                faults.push(restart_fault(text));
                return (faults, false);
            }
        }
    }

    fn subscriber(&self, index: usize, address: SocketAddr, ending: &watch::Sender<u64>) -> Options {
        let seed = self.seed_of(1, index as u64);
        let mut rng = StdRng::seed_from_u64(!seed);
        let is_trimming = matches!(self.gaps, Gaps::Trimmed { .. });
        let is_long_away = is_trimming && rng.random_bool(0.5);
        Options {
            index,
            subscriptions: self.subscriptions(&mut rng),
            address,
            seed,
            wants_history: self.gaps == Gaps::Never && rng.random_bool(0.15),
            absence_max: Duration::from_millis(if is_long_away { 4000 } else { 300 }),
            ending: ending.subscribe(),
        }
    }

    fn subscriptions(&self, rng: &mut StdRng) -> Vec<Subscription> {
        let patterns = ["check.strict.*", "check.*.*", "check:loose:*", "check:**", "check.**"];
        let mut texts = match rng.random_range(0..20) {
            0..8 => vec![channel_name(rng.random_range(0..self.channels))],
            8..13 => (0..rng.random_range(2..=4))
                .map(|_| channel_name(rng.random_range(0..self.channels)))
                .collect(),
            13..15 => vec![
                channel_name(rng.random_range(0..self.channels)),
                patterns[rng.random_range(0..patterns.len())].to_owned(),
            ],
            15..18 => vec![patterns[rng.random_range(0..patterns.len())].to_owned()],
            _ => vec!["**".to_owned()],
        };
        texts.sort();
        texts.dedup();
        texts
            .iter()
            .map(|text| Subscription::parse(text).expect("the names above are in the grammar"))
            .collect()
    }

    fn publisher(
        &self,
        index: u32,
        is_idempotent: bool,
        address: SocketAddr,
        truth: &Arc<Truth>,
        figures: &Arc<Figures>,
    ) -> Publisher {
        let seed = self.seed_of(2, index.into());
        Publisher::new(index, is_idempotent, address, seed, Arc::clone(truth), Arc::clone(figures))
    }

    /// A seed of its own for each part, spread by an odd multiplier.
    fn seed_of(&self, role: u64, index: u64) -> u64 {
        (self.seed ^ (role << 32 | index)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Where the last publisher's events are, by channel; at the very beginning where one was not acknowledged.
    fn targets(&self, truth: &Truth) -> Vec<Place> {
        let mut targets = vec![Place { life: 0, offset: 0 }; self.channels];
        for message in truth.messages().get(self.publishers as usize).into_iter().flatten() {
            if let Some(place) = message.places.last() {
                message.channels.iter().for_each(|&channel| targets[channel] = *place);
            }
        }
        targets
    }

    fn not_exercised(&self, figures: &Figures) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut need = |count: u64, what: &str| {
            if count == 0 {
                faults.push(Fault::new(FaultKind::NotExercised, format!("there were no {what}")));
            }
        };
        need(get(&figures.acknowledged), "acknowledged events");
        need(get(&figures.deliveries), "deliveries");
        if self.time >= EXERCISED_MIN {
            need(get(&figures.resumes), "resumes");
            if self.has_restarts {
                need(figures.restarts(), "restarts");
            }
            for stage in Stage::ALL.into_iter().filter(|_| self.subscribers >= TROUBLED_MIN) {
                if stage != Stage::Ending || get(&figures.graceful_restarts) > 0 {
                    let count = Act::ALL.iter().map(|&act| figures.troubles(stage, act)).sum();
                    need(count, &format!("readers that made trouble at the stage {}", stage.as_str()));
                }
            }
            match self.gaps {
                Gaps::Never => {}
                Gaps::EachEpoch => {
                    need(
                        figures.gaps(GapReason::Epoch) + figures.gaps(GapReason::Ahead),
                        "gaps after restarts",
                    );
                }
                Gaps::Trimmed { .. } => need(figures.gaps(GapReason::Trimmed), "gaps after trims"),
            }
        }
        faults
    }
}

/// Compares everything that was seen with the truth.
async fn compare(address: SocketAddr, truth: &Truth, records: &[Record], rules: &Rules) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut histories = Vec::new();
    for channel in 0..truth.channels.len() {
        let (told, found) = match timeout(DRAIN_DEADLINE, history::read(address, truth, channel)).await {
            Ok(read) => read,
            Err(_) => {
                let text = format!("history of {} was not read in time", truth.channels[channel]);
                (Vec::new(), vec![Fault::new(FaultKind::Stuck, text)])
            }
        };
        faults.extend(found);
        histories.push(told);
    }
    let told: Vec<(Label, Place)> = histories.concat();
    let (log, found) = Log::build(truth, records, &told);
    faults.extend(found);
    for record in records {
        faults.extend(compare_record(&log, record, rules));
    }
    for (channel, told) in histories.iter().enumerate() {
        faults.extend(compare_history(&log, channel, told, rules));
    }
    faults
}

/// Waits until the server counts no stream any more: all subscribers have gone.
async fn left_over(address: SocketAddr) -> Option<Fault> {
    let deadline = Instant::now() + LEFT_OVER_DEADLINE;
    loop {
        let told = match http::get(address, "/metrics").await {
            Ok((200, body)) => String::from_utf8_lossy(&body).into_owned(),
            Ok((status, _)) => {
                return Some(Fault::new(FaultKind::BrokenProtocol, format!("/metrics: {status}")));
            }
            Err(error) => return Some(Fault::new(FaultKind::BrokenProtocol, format!("/metrics: {error}"))),
        };
        let streams = told.lines().find_map(|line| line.strip_prefix("tidings_streams_open "));
        if streams == Some("0") {
            return None;
        }
        if Instant::now() >= deadline {
            let seconds = LEFT_OVER_DEADLINE.as_secs();
            let text = format!("{streams:?} streams are counted {seconds} s after the last reader had gone");
            return Some(Fault::new(FaultKind::LeftOver, text));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn restart_fault(text: String) -> Fault {
    Fault::new(FaultKind::Restart, text)
}

async fn show_progress(phase: Phase, figures: Arc<Figures>) {
    let begun = Instant::now();
    loop {
        let (published, deliveries) = (get(&figures.published), get(&figures.deliveries));
        let (resumes, restarts) = (get(&figures.resumes), figures.restarts());
        let (name, seconds, all) = (phase.name, begun.elapsed().as_secs(), phase.time.as_secs());
        eprint!(
            "\r\x1b[K{name} {seconds}/{all} s: {published} published, {deliveries} deliveries, {resumes} resumes, \
             {restarts} restarts"
        );
        sleep(Duration::from_secs(1)).await;
    }
}
