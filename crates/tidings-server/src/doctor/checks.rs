//! The checks, in order. A failed check skips those that need it.

use std::fmt::Display;
use std::time::Duration;

use tidings_client::{Client, Exchange, PublishAnswer};
use tokio::time::{Instant, sleep, timeout};

use super::advice::{BUFFERING, IDLE, millis, missing_event, status_advice};
use super::report::DoctorReport;
use super::stream_probe::{StreamProbe, StreamSignal};

/// Events that are sent at a pace.
const PACED_EVENTS: usize = 20;

/// Paced events that may come after the next one was published, as hiccups of a network; more count as clumps.
const LATE_EVENTS_MAX: usize = 4;

/// Time to live of the events that the doctor publishes.
const TTL: Duration = Duration::from_secs(300);

/// Time that each step may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// For the head of an answer.
    pub(super) answer: Duration,
    /// For the first bytes of a stream, after its head.
    pub(super) first_bytes: Duration,
    /// For an event, after it was published.
    pub(super) event: Duration,
    /// Between two paced events.
    pub(super) pace: Duration,
    /// For a keep-alive on a quiet stream; zero skips the check.
    pub(super) keep_alive: Duration,
}

impl Timeouts {
    pub(super) const DEFAULT: Self = Self {
        answer: Duration::from_secs(10),
        first_bytes: Duration::from_secs(2),
        event: Duration::from_secs(5),
        pace: Duration::from_millis(50),
        keep_alive: Duration::from_secs(20),
    };
}

/// Checks the way to a hub.
pub(super) struct Doctor<'a> {
    client: Client,
    channel: String,
    timeouts: Timeouts,
    report: &'a mut DoctorReport,
}

impl<'a> Doctor<'a> {
    pub(super) fn new(
        client: Client,
        channel: String,
        timeouts: Timeouts,
        report: &'a mut DoctorReport,
    ) -> Self {
        Self { client, channel, timeouts, report }
    }

    /// Runs the checks.
    pub(super) async fn run(mut self) {
        if !self.check_reach().await {
            return;
        }
        let Some(exchange) = self.check_open().await else { return };
        let mut probe = StreamProbe::start(exchange);
        self.check_first_bytes(&mut probe).await;
        if !self.check_event(&mut probe).await {
            return;
        }
        self.check_paced_events(&mut probe).await;
        if !self.timeouts.keep_alive.is_zero() {
            self.check_quiet_stream(&mut probe).await;
        }
        let id = probe.id(Duration::ZERO).await;
        drop(probe);
        self.check_resume(id).await;
    }

    /// Checks that the hub answers, and the HTTP version. Returns false if there is no answer.
    async fn check_reach(&mut self) -> bool {
        let started = Instant::now();
        let exchange = match self.get("/healthz", &[]).await {
            Ok(exchange) => exchange,
            Err(error) => {
                let advice = "check host, port and scheme, and that the hub and the proxy run";
                self.report.fail("reach", format!("the hub does not answer: {error}"), advice);
                return false;
            }
        };
        let (version, status, took) = (exchange.version(), exchange.status(), millis(started.elapsed()));
        let detail = format!("/healthz answers {status}, not 200, over {version} in {took}");
        if status == 200 {
            self.report.ok("reach", format!("/healthz answers {status} over {version} in {took}"));
        } else if matches!(status, 403..=405) {
            // A proxy may pass /api/ alone. If it passes nothing, the stream below does not open.
            let advice =
                "the proxy does not pass /healthz to the hub; that is good if probes ask the hub itself";
            self.report.warn("reach", detail, advice);
        } else {
            self.report.fail("reach", detail, status_advice(status));
        }
        match version {
            "HTTP/2" => self.report.ok("http_version", "HTTP/2: a browser may open many streams"),
            _ => self.report.warn(
                "http_version",
                format!("{version}: a browser opens at most six streams to one host"),
                "let the proxy speak HTTP/2 to browsers (nginx: `http2 on;` with TLS)",
            ),
        }
        true
    }

    /// Opens a stream that begins with an id, and checks its head.
    async fn check_open(&mut self) -> Option<Exchange> {
        let path = format!("/api/v1/events/{}?position=id", self.channel);
        let started = Instant::now();
        // The same header as a browser, so that a proxy which compresses does so here, too.
        let exchange = match self.get(&path, &[("accept-encoding", "gzip, deflate, br")]).await {
            Ok(exchange) => exchange,
            Err(error) => {
                self.report.fail("open", format!("a stream does not open: {error}"), BUFFERING);
                return None;
            }
        };
        let content_type = exchange.header("content-type").unwrap_or_default().to_owned();
        if exchange.status() != 200 {
            let status = exchange.status();
            self.report.fail("open", format!("a stream is answered {status}"), status_advice(status));
            return None;
        }
        if !content_type.to_ascii_lowercase().starts_with("text/event-stream") {
            self.report.fail(
                "open",
                format!("a stream has content type `{content_type}`, not text/event-stream"),
                "another server or a log-in page answers; send /api/ to the hub unchanged",
            );
            return None;
        }
        self.report.ok("open", format!("a stream opens in {}", millis(started.elapsed())));
        self.check_headers(&exchange);
        if exchange.header("content-encoding").is_none() {
            return Some(exchange);
        }
        // Further checks need a stream without compression.
        let plain = self.get(&path, &[("accept-encoding", "identity")]).await.ok()?;
        plain.header("content-encoding").is_none().then_some(plain)
    }

    /// Checks the headers that keep proxies from changing the stream.
    fn check_headers(&mut self, exchange: &Exchange) {
        match exchange.header("content-encoding") {
            None => self.report.ok("encoding", "the stream is not compressed"),
            Some(encoding) => self.report.fail(
                "encoding",
                format!("the stream is compressed as `{encoding}`, which holds events back"),
                "leave text/event-stream out of compression (nginx: remove it from `gzip_types`)",
            ),
        }
        let cache = exchange.header("cache-control").unwrap_or_default().to_ascii_lowercase();
        if cache.contains("no-transform") && cache.contains("no-cache") {
            self.report.ok("cache_control", format!("Cache-Control is `{cache}`"));
        } else {
            self.report.fail(
                "cache_control",
                format!("Cache-Control is `{cache}`, not `no-cache, no-transform`"),
                "let the hub's Cache-Control through (nginx: no `expires` or `add_header Cache-Control` here)",
            );
        }
        match exchange.header("x-accel-buffering") {
            Some("no") => self.report.ok("accel", "X-Accel-Buffering: no arrives"),
            // nginx obeys the header, and removes it.
            None => self.report.ok("accel", "X-Accel-Buffering was removed on the way, as nginx does"),
            Some(other) => self.report.fail(
                "accel",
                format!("X-Accel-Buffering is `{other}`, not `no`"),
                "let the hub's X-Accel-Buffering through",
            ),
        }
    }

    /// Checks that the first bytes, which the hub sends at once, do not wait in a buffer.
    async fn check_first_bytes(&mut self, probe: &mut StreamProbe) {
        let started = Instant::now();
        match probe.next(started + self.timeouts.first_bytes).await.map(|received| received.signal) {
            Some(StreamSignal::Closed(reason)) => {
                let advice = "see the proxy's log: the proxy ends streams as soon as they begin";
                self.report.fail("first_bytes", format!("the stream ends at once: {reason}"), advice);
            }
            Some(_) => {
                let took = millis(started.elapsed());
                self.report.ok("first_bytes", format!("the first bytes come {took} after the head"));
            }
            None => {
                let waited = millis(self.timeouts.first_bytes);
                let detail = format!("no bytes came within {waited} of the head");
                self.report.fail("first_bytes", detail, BUFFERING);
            }
        }
    }

    /// Publishes one event and waits for it. Returns false if the further checks cannot work.
    async fn check_event(&mut self, probe: &mut StreamProbe) -> bool {
        let started = Instant::now();
        let data = data_of("first");
        if let Err(error) = self.publish(&data).await {
            let advice =
                "let POST through to the hub; with [auth], give --token a key with the right to publish";
            self.report.fail("event", format!("an event cannot be published: {error}"), advice);
            return false;
        }
        match probe.wait_for_event(&data, self.timeouts.event).await {
            Ok(at) => {
                let took = at.saturating_duration_since(started);
                let detail = format!("an event arrives {} after it is published", millis(took));
                if took > Duration::from_secs(1) {
                    self.report.warn("event", detail, BUFFERING);
                } else {
                    self.report.ok("event", detail);
                }
                true
            }
            Err(error) => {
                let (detail, advice) = missing_event("an event", &error, self.timeouts.event);
                self.report.fail("event", detail, advice);
                false
            }
        }
    }

    /// Publishes events at a pace. Each must arrive before the next is sent.
    async fn check_paced_events(&mut self, probe: &mut StreamProbe) {
        let mut sent = Vec::with_capacity(PACED_EVENTS);
        for number in 0..PACED_EVENTS {
            sent.push(Instant::now());
            if let Err(error) = self.publish(&data_of(&format!("paced {number}"))).await {
                let detail = format!("event {} cannot be published: {error}", number + 1);
                let advice = "see the proxy's request limits, and the hub's log";
                self.report.fail("paced", detail, advice);
                return;
            }
            sleep(self.timeouts.pace).await;
        }
        let mut late = 0;
        for number in 0..PACED_EVENTS {
            let data = data_of(&format!("paced {number}"));
            match probe.wait_for_event(&data, self.timeouts.event).await {
                Ok(at) => late += usize::from(sent.get(number + 1).is_some_and(|next| at > *next)),
                Err(error) => {
                    let event = format!("event {} of {PACED_EVENTS}", number + 1);
                    let (detail, advice) = missing_event(&event, &error, self.timeouts.event);
                    self.report.fail("paced", detail, advice);
                    return;
                }
            }
        }
        if late > LATE_EVENTS_MAX {
            let detail =
                format!("{late} of {PACED_EVENTS} events come only after the next is published: in clumps");
            self.report.fail("paced", detail, BUFFERING);
        } else {
            self.report.ok("paced", format!("{PACED_EVENTS} paced events come one by one, in order"));
        }
    }

    /// Checks that a keep-alive arrives on a quiet stream before a proxy closes it.
    async fn check_quiet_stream(&mut self, probe: &mut StreamProbe) {
        let started = Instant::now();
        let received = probe.next(started + self.timeouts.keep_alive).await;
        let after = millis(started.elapsed());
        match received.map(|received| received.signal) {
            Some(StreamSignal::Closed(reason)) => {
                self.report.fail("idle", format!("a quiet stream is cut after {after}: {reason}"), IDLE);
            }
            Some(_) => self.report.ok("idle", format!("a quiet stream is kept alive after {after}")),
            None => self.report.warn(
                "idle",
                format!("a quiet stream stays open, but no keep-alive came within {after}"),
                "give --wait more than the hub's `stream.keep_alive`",
            ),
        }
    }

    /// Resumes by header and by query. Both must replay an event that was published in between.
    async fn check_resume(&mut self, id: Option<String>) {
        let Some(id) = id else {
            let advice = "is this a Tidings hub, and its log ready? see /readyz";
            self.report.fail("resume_header", "the stream named no id to resume from", advice);
            return;
        };
        let data = data_of("away");
        if let Err(error) = self.publish(&data).await {
            let advice = "see the logs of the proxy and of the hub";
            self.report.fail("resume_header", format!("an event cannot be published: {error}"), advice);
            return;
        }
        let path = format!("/api/v1/events/{}", self.channel);
        match self.check_replay(&path, &[("last-event-id", &id)], &data).await {
            Ok(()) => self.report.ok("resume_header", "Last-Event-ID resumes: the missed event is replayed"),
            Err(detail) => self.report.fail(
                "resume_header",
                format!("a reconnect with Last-Event-ID does not replay the missed event: {detail}"),
                "a proxy on the way strips the header; let Last-Event-ID through (and allow it in CORS), or let clients \
                 send `?lastEventId=`",
            ),
        }
        // An id needs no escapes in a query.
        match self.check_replay(&format!("{path}?lastEventId={id}"), &[], &data).await {
            Ok(()) => self.report.ok("resume_query", "lastEventId in the query resumes, too"),
            Err(detail) => self.report.fail(
                "resume_query",
                format!("a reconnect with lastEventId does not replay the missed event: {detail}"),
                "a proxy on the way cuts or caches by the query; pass it on, and cache nothing here",
            ),
        }
    }

    /// Checks that a stream of this request replays the event.
    async fn check_replay(&self, path: &str, headers: &[(&str, &str)], data: &str) -> Result<(), String> {
        let exchange = self.get(path, headers).await?;
        if exchange.status() != 200 {
            return Err(format!("answered {}", exchange.status()));
        }
        let found = StreamProbe::start(exchange).wait_for_event(data, self.timeouts.event).await;
        found.map(drop).map_err(|error| missing_event("it", &error, self.timeouts.event).0)
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Exchange, String> {
        let mut all = vec![("accept", "text/event-stream"), ("cache-control", "no-cache")];
        all.extend_from_slice(headers);
        self.answer(self.client.get(path, &all)).await
    }

    async fn publish(&self, data: &str) -> Result<PublishAnswer, String> {
        self.answer(self.client.publish(&self.channel).data(data).ttl(TTL).send()).await
    }

    /// Waits for an answer, within the timeout.
    async fn answer<A, E: Display>(&self, answer: impl Future<Output = Result<A, E>>) -> Result<A, String> {
        match timeout(self.timeouts.answer, answer).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {}", millis(self.timeouts.answer))),
        }
    }
}

/// Returns data that a hub with `channels.envelope = "strict"` accepts, too.
fn data_of(text: &str) -> String {
    format!(r#"{{"type":"test","object":"{text}"}}"#)
}
