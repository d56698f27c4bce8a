//! The examination, step by step; what one step finds decides which further ones make sense.

use std::time::Duration;

use tidings_client::{Client, Exchange, PublishAnswer};
use tokio::time::{Instant, sleep, timeout};

use super::Timeouts;
use super::report::DoctorReport;
use super::stream_probe::{StreamProbe, StreamSignal, WaitError};

/// How many events are sent at a pace to see whether they come one by one.
const PACED_EVENTS: usize = 20;

/// So many paced events may come only after the next was published before that counts as clumps; fewer are the
/// hiccups of a network.
const LATE_EVENTS_MAX: usize = 4;

/// What the doctor publishes is gone after this time.
const TTL: Duration = Duration::from_secs(300);

const BUFFERING: &str = "something on the way holds bytes back; nginx: `proxy_buffering off;` and \
    `proxy_http_version 1.1;`; Apache: `SetEnv proxy-sendchunks 1` with `flushpackets=on`; HAProxy: \
    `option http-no-delay`, no `option http-buffer-request` or compression here; a CDN: switch off caching, compression and buffering for this path";

const IDLE: &str = "something on the way closes quiet streams; let it wait longer than the hub's `stream.keep_alive` \
    (15s): nginx `proxy_read_timeout 1h;`, HAProxy `timeout server 1h` and `timeout tunnel 1h`, AWS ALB \
    `idle_timeout.timeout_seconds=3600`; or make `stream.keep_alive` shorter";

/// One examination of the way to a hub.
pub(super) struct Examination<'a> {
    client: Client,
    channel: String,
    timeouts: Timeouts,
    report: &'a mut DoctorReport,
}

impl<'a> Examination<'a> {
    pub(super) fn new(
        client: Client,
        channel: String,
        timeouts: Timeouts,
        report: &'a mut DoctorReport,
    ) -> Self {
        Self { client, channel, timeouts, report }
    }

    /// Goes through all steps that make sense.
    pub(super) async fn run(mut self) {
        if !self.reach().await {
            return;
        }
        let Some(exchange) = self.open().await else { return };
        let mut listener = StreamProbe::start(exchange);
        self.first_bytes(&mut listener).await;
        if !self.event(&mut listener).await {
            return;
        }
        self.paced(&mut listener).await;
        if !self.timeouts.keep_alive.is_zero() {
            self.quiet(&mut listener).await;
        }
        let id = listener.id(Duration::ZERO).await;
        drop(listener);
        self.resume(id).await;
    }

    /// Asks whether the hub answers at all, and by which protocol. False if nothing answers.
    async fn reach(&mut self) -> bool {
        let began = Instant::now();
        let exchange = match self.get("/healthz", &[]).await {
            Ok(exchange) => exchange,
            Err(fault) => {
                let remedy = "check host, port and scheme, and that the hub and the proxy run";
                self.report.fail("reach", format!("the hub does not answer: {fault}"), remedy);
                return false;
            }
        };
        let (version, status, took) = (exchange.version(), exchange.status(), millis(began.elapsed()));
        if status == 200 {
            self.report.ok("reach", format!("/healthz answers {status} over {version} in {took}"));
        } else if matches!(status, 403..=405) {
            // A recipe may pass /api/ alone. If nothing is passed, the stream below does not open.
            let detail = format!("/healthz answers {status}, not 200, over {version} in {took}");
            let remedy =
                "the proxy does not pass /healthz to the hub; that is good where probes ask the hub itself";
            self.report.warn("reach", detail, remedy);
        } else {
            let detail = format!("/healthz answers {status}, not 200, over {version} in {took}");
            self.report.fail("reach", detail, remedy_of_status(status));
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

    /// Opens a stream that begins with an id, and looks at its head.
    async fn open(&mut self) -> Option<Exchange> {
        let path = format!("/api/v1/events/{}?position=id", self.channel);
        let began = Instant::now();
        // As a browser asks, so that a proxy which compresses does so here, too.
        let exchange = match self.get(&path, &[("accept-encoding", "gzip, deflate, br")]).await {
            Ok(exchange) => exchange,
            Err(fault) => {
                self.report.fail("open", format!("a stream does not open: {fault}"), BUFFERING);
                return None;
            }
        };
        let content_type = exchange.header("content-type").unwrap_or_default().to_owned();
        if exchange.status() != 200 {
            let status = exchange.status();
            self.report.fail("open", format!("a stream is answered {status}"), remedy_of_status(status));
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
        self.report.ok("open", format!("a stream opens in {}", millis(began.elapsed())));
        self.heads(&exchange);
        if exchange.header("content-encoding").is_none() {
            return Some(exchange);
        }
        // The rest is examined without compression, if that can be had.
        let plain = self.get(&path, &[("accept-encoding", "identity")]).await.ok()?;
        plain.header("content-encoding").is_none().then_some(plain)
    }

    /// Looks at the headers that keep proxies from changing the stream.
    fn heads(&mut self, exchange: &Exchange) {
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
            // nginx takes it out after it has heeded it.
            None => self.report.ok("accel", "X-Accel-Buffering was taken out on the way, as nginx does"),
            Some(other) => self.report.fail(
                "accel",
                format!("X-Accel-Buffering is `{other}`, not `no`"),
                "let the hub's X-Accel-Buffering through",
            ),
        }
    }

    /// The hub sends first bytes at once; they must not wait in a buffer.
    async fn first_bytes(&mut self, listener: &mut StreamProbe) {
        let began = Instant::now();
        match listener.next(began + self.timeouts.first_bytes).await.map(|heard| heard.what) {
            Some(StreamSignal::Closed(reason)) => {
                let remedy = "look into the proxy's log: it ends streams as soon as they begin";
                self.report.fail("first_bytes", format!("the stream ends at once: {reason}"), remedy);
            }
            Some(_) => {
                let took = millis(began.elapsed());
                self.report.ok("first_bytes", format!("the first bytes come {took} after the head"));
            }
            None => {
                let waited = millis(self.timeouts.first_bytes);
                self.report.fail(
                    "first_bytes",
                    format!("no bytes came within {waited} of the head"),
                    BUFFERING,
                );
            }
        }
    }

    /// Publishes one event and waits for it. False if nothing further can be learnt.
    async fn event(&mut self, listener: &mut StreamProbe) -> bool {
        let began = Instant::now();
        let data = data_of("first");
        if let Err(fault) = self.publish(&data).await {
            let remedy =
                "let POST through to the hub; with [auth], give --token a key with the right to publish";
            self.report.fail("event", format!("an event cannot be published: {fault}"), remedy);
            return false;
        }
        match listener.event(&data, self.timeouts.event).await {
            Ok(at) => {
                let took = at.saturating_duration_since(began);
                let detail = format!("an event arrives {} after it is published", millis(took));
                if took > Duration::from_secs(1) {
                    self.report.warn("event", detail, BUFFERING);
                } else {
                    self.report.ok("event", detail);
                }
                true
            }
            Err(miss) => {
                let (detail, remedy) = missed("an event", &miss, self.timeouts.event);
                self.report.fail("event", detail, remedy);
                false
            }
        }
    }

    /// Publishes events at a pace: each must come before the next is sent.
    async fn paced(&mut self, listener: &mut StreamProbe) {
        let mut sent = Vec::with_capacity(PACED_EVENTS);
        for number in 0..PACED_EVENTS {
            sent.push(Instant::now());
            if let Err(fault) = self.publish(&data_of(&format!("paced {number}"))).await {
                let remedy = "look at the proxy's request limits, and at the hub's log";
                self.report.fail(
                    "paced",
                    format!("event {} cannot be published: {fault}", number + 1),
                    remedy,
                );
                return;
            }
            sleep(self.timeouts.pace).await;
        }
        let mut late = 0;
        for number in 0..PACED_EVENTS {
            match listener.event(&data_of(&format!("paced {number}")), self.timeouts.event).await {
                Ok(at) => late += usize::from(sent.get(number + 1).is_some_and(|next| at > *next)),
                Err(miss) => {
                    let what = format!("event {} of {PACED_EVENTS}", number + 1);
                    let (detail, remedy) = missed(&what, &miss, self.timeouts.event);
                    self.report.fail("paced", detail, remedy);
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

    /// Waits on a quiet stream: the hub must be heard before something on the way cuts it.
    async fn quiet(&mut self, listener: &mut StreamProbe) {
        let began = Instant::now();
        let heard = listener.next(began + self.timeouts.keep_alive).await;
        let after = millis(began.elapsed());
        match heard.map(|heard| heard.what) {
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

    /// Comes back with an id, by header and by query: what was published in between must be there.
    async fn resume(&mut self, id: Option<String>) {
        let Some(id) = id else {
            let remedy = "is this a Tidings hub, and its log ready? see /readyz";
            self.report.fail("resume_header", "the stream named no id to resume from", remedy);
            return;
        };
        let data = data_of("away");
        if let Err(fault) = self.publish(&data).await {
            let remedy = "look into the proxy's and the hub's log";
            self.report.fail("resume_header", format!("an event cannot be published: {fault}"), remedy);
            return;
        }
        let path = format!("/api/v1/events/{}", self.channel);
        let found = self.replays(&path, &[("last-event-id", &id)], &data).await;
        match found {
            Ok(()) => self.report.ok("resume_header", "Last-Event-ID resumes: the event missed is replayed"),
            Err(detail) => self.report.fail(
                "resume_header",
                format!("a reconnect with Last-Event-ID does not bring the event missed: {detail}"),
                "something on the way strips the header; let Last-Event-ID through (and allow it in CORS), or let \
                 clients send `?lastEventId=`",
            ),
        }
        // The id's alphabet needs no escapes in a query.
        match self.replays(&format!("{path}?lastEventId={id}"), &[], &data).await {
            Ok(()) => self.report.ok("resume_query", "lastEventId in the query resumes, too"),
            Err(detail) => self.report.fail(
                "resume_query",
                format!("a reconnect with lastEventId does not bring the event missed: {detail}"),
                "something on the way cuts or caches by the query; pass it on, and cache nothing here",
            ),
        }
    }

    /// Whether a stream opened like this brings the event.
    async fn replays(&self, path: &str, headers: &[(&str, &str)], data: &str) -> Result<(), String> {
        let exchange = self.get(path, headers).await?;
        if exchange.status() != 200 {
            return Err(format!("answered {}", exchange.status()));
        }
        let found = StreamProbe::start(exchange).event(data, self.timeouts.event).await;
        found.map(drop).map_err(|miss| missed("it", &miss, self.timeouts.event).0)
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Exchange, String> {
        let mut all = vec![("accept", "text/event-stream"), ("cache-control", "no-cache")];
        all.extend_from_slice(headers);
        match timeout(self.timeouts.answer, self.client.get(path, &all)).await {
            Ok(answer) => answer.map_err(|fault| fault.to_string()),
            Err(_) => Err(format!("no answer within {}", millis(self.timeouts.answer))),
        }
    }

    async fn publish(&self, data: &str) -> Result<PublishAnswer, String> {
        let publish = self.client.publish(&self.channel).data(data).ttl(TTL);
        match timeout(self.timeouts.answer, publish.send()).await {
            Ok(answer) => answer.map_err(|fault| fault.to_string()),
            Err(_) => Err(format!("no answer within {}", millis(self.timeouts.answer))),
        }
    }
}

/// Data that a hub with `channels.envelope = "strict"` takes, too.
fn data_of(text: &str) -> String {
    format!(r#"{{"type":"test","object":"{text}"}}"#)
}

fn millis(duration: Duration) -> String {
    match duration.as_millis() {
        small @ 0..1000 => format!("{small} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// What an event that did not come means, and what helps.
fn missed(what: &str, miss: &WaitError, waited: Duration) -> (String, &'static str) {
    match miss {
        WaitError::Silent => (format!("{what} did not come within {}", millis(waited)), BUFFERING),
        WaitError::Closed(reason) => (
            format!("{what} did not come: {reason}"),
            "something on the way ends streams; see its time-outs and its log",
        ),
        WaitError::Gap => (
            format!("{what} did not come: the hub told a gap"),
            "the id was changed on the way, or requests go to hubs that do not share a log",
        ),
    }
}

fn remedy_of_status(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "give --token a key that may publish and subscribe to doctor.*; see also the hub's `cors.origins`"
        }
        404 | 405 => "the proxy sends this path elsewhere; pass /api/ on to the hub, prefix removed",
        429 | 503 => "the hub or the proxy is at a limit or starts; see /readyz and try again",
        500..=599 => "the proxy does not reach the hub; check its upstream address and its log",
        300..=399 => "give the address that it redirects to",
        _ => "another server may answer here; check the URL",
    }
}
