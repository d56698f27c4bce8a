//! Every metric, in one place, as Prometheus reads them.

mod histogram;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};
use tidings_protocol::{
    Code,
    body::{EndReason, GapReason},
};

pub(crate) use self::histogram::{Histogram, Timing};

/// A number that goes up and down.
type UnsignedGauge = Gauge<u64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ThreadLabel {
    thread: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeniedByLabel {
    by: &'static str,
}

/// Refusals of credentials and of channels, and the questions to the hook.
struct AuthMetrics {
    credentials: Family<ReasonLabel, Counter>,
    denials: Family<DeniedByLabel, Counter>,
    hook_questions: Counter,
    hook_failures: Counter,
}

impl AuthMetrics {
    fn new(it: &mut Registry) -> Self {
        Self {
            credentials: family(it, "auth_failures", "Credentials that were not good, by reason"),
            denials: family(
                it,
                "access_denied",
                "Channels refused to somebody known, by what refused them: pattern or hook",
            ),
            hook_questions: counter(
                it,
                "hook_requests",
                "Questions asked of the hook, without those answered from memory",
            ),
            hook_failures: counter(it, "hook_failures", "Questions that the hook gave no answer to"),
        }
    }
}

/// Counters and levels of one hub.
pub(crate) struct Metrics {
    registry: Registry,
    stored: Counter,
    transient: Counter,
    unstored_missed: Counter,
    append_failed: Counter,
    publish_refused: Counter,
    frames: Counter,
    streams: Counter,
    expired: Counter,
    superseded: Counter,
    skipped_low: Counter,
    write_timeouts: Counter,
    sockets_pressed: Counter,
    gaps: Family<ReasonLabel, Counter>,
    ends: Family<ReasonLabel, Counter>,
    access: AuthMetrics,
    jwks_fetches: Counter,
    jwks_failures: Counter,
    refusals: Family<CodeLabel, Counter>,
    early: AbortMetrics,
    limits: Family<LimitLabel, Counter>,
    connections: UnsignedGauge,
    head: UnsignedGauge,
    log_bytes: UnsignedGauge,
    disk_bytes: UnsignedGauge,
    cache_bytes: UnsignedGauge,
    runs_bytes: UnsignedGauge,
    channels: UnsignedGauge,
    idempotency_keys: UnsignedGauge,
    durations: Durations,
    broker: BrokerMetrics,
}

/// How long each step of an event takes on this node.
struct Durations {
    publishes: Histogram,
    appends: Histogram,
    delivery_lag: Histogram,
}

impl Durations {
    fn new(it: &mut Registry, fsyncs: Histogram) -> Self {
        it.register("fsync_seconds", "Time of each fsync of stored events", fsyncs);
        Self {
            publishes: histogram(
                it,
                "publish_seconds",
                "Time from taking a checked publish until its answer is known, refusals included",
            ),
            appends: histogram(
                it,
                "append_seconds",
                "Time of appending one batch of publishes to the log, or to the broker's",
            ),
            delivery_lag: histogram(
                it,
                "delivery_lag_seconds",
                "Time from an event's publishedAt until it was written to streams that wait for it",
            ),
        }
    }
}

/// Of what ended early.
struct AbortMetrics {
    connections: Family<ReasonLabel, Counter>,
    threads: Family<ThreadLabel, Counter>,
    requests: Counter,
}

impl AbortMetrics {
    fn new(it: &mut Registry) -> Self {
        Self {
            connections: family(
                it,
                "connections_aborted",
                "Connections cut for what their client did, by reason",
            ),
            threads: family(
                it,
                "thread_panics",
                "Threads and tasks that panicked, or ended before the hub, by name",
            ),
            requests: counter(it, "request_panics", "Requests and reads of the log that panicked"),
        }
    }
}

/// Of a log that a broker orders.
struct BrokerMetrics {
    losses: Counter,
    refills: Counter,
    forks: Counter,
    lag: UnsignedGauge,
    round_trips: Histogram,
    connections: Counter,
    evicts: UnsignedGauge,
    clock_apart: UnsignedGauge,
    refused: Counter,
    messages_dropped: Counter,
    captured: Counter,
    capture_lost: Counter,
    unmirrored: Counter,
}

impl BrokerMetrics {
    fn new(it: &mut Registry) -> Self {
        Self {
            losses: counter(it, "broker_disconnects", "Times the broker went out of sight"),
            refills: counter(
                it,
                "broker_resyncs",
                "Times events came with a hole before them, and were read again",
            ),
            forks: counter(it, "broker_data_loss", "Times the broker had lost events that were seen here"),
            lag: level(
                it,
                "broker_lag",
                "Events that the broker had and this node had not, when last compared",
            ),
            round_trips: histogram(
                it,
                "broker_roundtrip_seconds",
                "Time from sending commands to the broker until their replies were read or given up",
            ),
            connections: counter(
                it,
                "broker_connections_opened",
                "Connections to the broker since the start",
            ),
            clock_apart: level(
                it,
                "broker_clock_apart_seconds",
                "How far the clock of this machine is from the broker's",
            ),
            evicts: level(
                it,
                "broker_evicts",
                "1 where the broker may evict the log when it is full, else 0",
            ),
            refused: counter(
                it,
                "redis_subscriptions_denied",
                "Times the broker refused to let a channel or pattern be heard",
            ),
            messages_dropped: counter(
                it,
                "capture_rejected",
                "Messages of other programs that were not fit to be delivered",
            ),
            captured: counter(
                it,
                "capture_appended",
                "Messages of other programs put into the log by this node",
            ),
            capture_lost: counter(
                it,
                "capture_dropped",
                "Messages of redis.capture that this node heard and could not keep until they were in the log",
            ),
            unmirrored: counter(
                it,
                "mirror_denied",
                "Times that the broker refused to publish what is mirrored",
            ),
        }
    }
}

/// What is read off the hub at the moment of asking.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GaugeValues {
    pub(crate) connections: u64,
    pub(crate) head: u64,
    pub(crate) log_bytes: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) runs_bytes: u64,
    pub(crate) channels: u64,
    pub(crate) idempotency_keys: u64,
}

impl Metrics {
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self::with_fsyncs(Histogram::default())
    }

    /// All metrics at zero, beside those of a log that is open already.
    pub(crate) fn with_fsyncs(fsyncs: Histogram) -> Self {
        let mut registry = Registry::with_prefix("tidings");
        let it = &mut registry;
        it.register("build", "Version of this build", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        Self {
            stored: counter(it, "events_stored", "Events appended to the log"),
            transient: counter(it, "transient_events", "Events published with store=false"),
            unstored_missed: counter(
                it,
                "transient_events_dropped",
                "Times an unstored event passed a connection that was behind",
            ),
            append_failed: counter(it, "appends_failed", "Batches that the log could not store"),
            publish_refused: counter(
                it,
                "publishes_refused",
                "Publishes answered with an error after they were checked",
            ),
            frames: counter(it, "events_delivered", "Stored events handed to connections"),
            streams: counter(it, "streams_opened", "Streams that were opened"),
            expired: counter(it, "events_expired", "Times an event's ttl was over before it was sent"),
            superseded: counter(
                it,
                "events_superseded",
                "Times a newer event of its key replaced a pending one",
            ),
            skipped_low: counter(
                it,
                "events_skipped",
                "Times a low event passed a connection that was behind",
            ),
            write_timeouts: counter(it, "write_timeouts", "Connections closed because they took no bytes"),
            sockets_pressed: counter(it, "socket_backpressure", "Times a socket refused bytes"),
            gaps: family(it, "gaps", "Gaps told to clients, by reason"),
            ends: family(it, "streams_ended", "Streams ended by the hub, by reason"),
            access: AuthMetrics::new(it),
            jwks_fetches: counter(it, "jwks_fetches", "Times the keys of auth.jwks_url were fetched"),
            jwks_failures: counter(it, "jwks_failures", "Fetches of auth.jwks_url that brought no keys"),
            refusals: family(it, "http_errors", "Requests answered with a problem document, by its code"),
            early: AbortMetrics::new(it),
            limits: family(it, "limit_refused", "Requests refused because of a limit, by setting"),
            connections: level(it, "streams_open", "Open streams"),
            head: level(it, "log_head", "Offset of the newest event"),
            log_bytes: level(
                it,
                "log_bytes",
                "Stored events with their index, as log.retention_bytes counts them",
            ),
            disk_bytes: level(it, "log_disk_bytes", "Files of the log"),
            cache_bytes: level(it, "log_cache_bytes", "Newest events held in memory"),
            runs_bytes: level(
                it,
                "log_chunk_cache_bytes",
                "Stretches of channels held in memory for others who read them, 3 MiB at most",
            ),
            channels: level(it, "log_channels", "Channels with events or a known loss"),
            idempotency_keys: level(it, "idempotency_keys", "Idempotency keys remembered"),
            durations: Durations::new(it, fsyncs),
            broker: BrokerMetrics::new(it),
            registry,
        }
    }

    /// The text that Prometheus reads.
    pub(crate) fn text(&self, levels: GaugeValues) -> String {
        self.connections.set(levels.connections);
        self.head.set(levels.head);
        self.log_bytes.set(levels.log_bytes);
        self.disk_bytes.set(levels.disk_bytes);
        self.cache_bytes.set(levels.cache_bytes);
        self.runs_bytes.set(levels.runs_bytes);
        self.channels.set(levels.channels);
        self.idempotency_keys.set(levels.idempotency_keys);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string succeeds");
        text
    }

    pub(crate) fn stored(&self, events: usize) {
        self.stored.inc_by(events as u64);
    }

    pub(crate) fn transient(&self, missed: usize) {
        self.transient.inc();
        self.unstored_missed.inc_by(missed as u64);
    }

    pub(crate) fn transient_dropped(&self, missed: usize) {
        self.unstored_missed.inc_by(missed as u64);
    }

    /// Durations of publishes, from when they are checked.
    pub(crate) fn publishes(&self) -> &Histogram {
        &self.durations.publishes
    }

    /// Durations of appends of a batch.
    pub(crate) fn appends(&self) -> &Histogram {
        &self.durations.appends
    }

    /// An event of this age, in milliseconds, is written to streams that wait for it.
    pub(crate) fn delivery_lag(&self, millis: u64) {
        self.durations.delivery_lag.observe(Duration::from_millis(millis));
    }

    /// Durations of exchanges with the broker.
    pub(crate) fn broker_round_trips(&self) -> Histogram {
        self.broker.round_trips.clone()
    }

    pub(crate) fn broker_disconnected(&self) {
        self.broker.losses.inc();
    }

    pub(crate) fn broker_resynced(&self) {
        self.broker.refills.inc();
    }

    pub(crate) fn broker_data_lost(&self) {
        self.broker.forks.inc();
    }

    pub(crate) fn broker_compared(&self, lag: u64, connections: u64, unmirrored: u64) {
        self.broker.lag.set(lag);
        // These are counted elsewhere; a counter does not go back.
        self.broker.unmirrored.inner().fetch_max(unmirrored, Ordering::Relaxed);
        self.broker.connections.inner().fetch_max(connections, Ordering::Relaxed);
    }

    pub(crate) fn broker_clock_apart(&self, apart: Duration) {
        self.broker.clock_apart.set(apart.as_secs());
    }

    /// Whether the broker may evict the log where it is full.
    pub(crate) fn broker_evicts(&self, evicts: bool) {
        self.broker.evicts.set(u64::from(evicts));
    }

    pub(crate) fn redis_subscription_denied(&self) {
        self.broker.refused.inc();
    }

    pub(crate) fn capture_rejected(&self) {
        self.broker.messages_dropped.inc();
    }

    /// Messages of other programs were put into the log.
    pub(crate) fn capture_appended(&self, messages: usize) {
        self.broker.captured.inc_by(messages as u64);
        self.stored(messages);
    }

    /// Messages that should have been, were not kept here.
    pub(crate) fn capture_dropped(&self, messages: usize) {
        self.broker.capture_lost.inc_by(messages as u64);
    }

    pub(crate) fn append_failed(&self) {
        self.append_failed.inc();
    }

    pub(crate) fn publish_refused(&self) {
        self.publish_refused.inc();
    }

    pub(crate) fn delivered(&self, frames: usize) {
        self.frames.inc_by(frames as u64);
    }

    pub(crate) fn stream_opened(&self) {
        self.streams.inc();
    }

    pub(crate) fn stream_ended(&self, reason: EndReason) {
        self.ends.get_or_create(&ReasonLabel { reason: word(reason) }).inc();
    }

    pub(crate) fn expired(&self) {
        self.expired.inc();
    }

    pub(crate) fn superseded(&self) {
        self.superseded.inc();
    }

    pub(crate) fn skipped_low(&self) {
        self.skipped_low.inc();
    }

    pub(crate) fn write_timeout(&self) {
        self.write_timeouts.inc();
    }

    pub(crate) fn socket_backpressure(&self) {
        self.sockets_pressed.inc();
    }

    pub(crate) fn gap(&self, reason: GapReason) {
        self.gaps.get_or_create(&ReasonLabel { reason: word(reason) }).inc();
    }

    pub(crate) fn auth_failed(&self, reason: &str) {
        self.access.credentials.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc();
    }

    /// A channel was refused by the patterns of the credentials, or by the hook.
    pub(crate) fn access_denied(&self, by: &'static str) {
        self.access.denials.get_or_create(&DeniedByLabel { by }).inc();
    }

    pub(crate) fn hook_request(&self) {
        self.access.hook_questions.inc();
    }

    pub(crate) fn hook_failure(&self) {
        self.access.hook_failures.inc();
    }

    pub(crate) fn jwks_fetch(&self) {
        self.jwks_fetches.inc();
    }

    pub(crate) fn jwks_failure(&self) {
        self.jwks_failures.inc();
    }

    pub(crate) fn http_error(&self, code: Code) {
        self.refusals.get_or_create(&CodeLabel { code: code.to_string() }).inc();
    }

    pub(crate) fn thread_ended(&self, thread: &str) {
        self.early.threads.get_or_create(&ThreadLabel { thread: thread.to_owned() }).inc();
    }

    pub(crate) fn request_panicked(&self) {
        self.early.requests.inc();
    }

    pub(crate) fn connection_aborted(&self, reason: &str) {
        self.early.connections.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc();
    }

    pub(crate) fn limit_refused(&self, limit: &str) {
        self.limits.get_or_create(&LimitLabel { limit: limit.to_owned() }).inc();
    }
}

/// A reason as it is written on the wire.
fn word(reason: impl serde::Serialize) -> String {
    let word = serde_json::to_value(reason).ok().and_then(|it| it.as_str().map(str::to_owned));
    word.unwrap_or_default()
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn level(registry: &mut Registry, name: &str, help: &str) -> UnsignedGauge {
    let level = UnsignedGauge::default();
    registry.register(name, help, level.clone());
    level
}

fn histogram(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::default();
    registry.register(name, help, histogram.clone());
    histogram
}

fn family<Labels>(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Counter>
where
    Labels: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}
