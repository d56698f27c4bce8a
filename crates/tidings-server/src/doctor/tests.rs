//! The doctor, and a small hub behind proxies with one fault each.

use std::sync::{Arc, Mutex};

use tidings_client::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::checks::Doctor;
use super::report::{CheckStatus, DoctorReport};
use super::*;

/// The first event and the paced ones: after these the stream is quiet.
const EVENTS_BEFORE_QUIET: usize = 21;

/// Faults of the proxy.
#[derive(Clone, Copy, Default)]
struct ProxyFaults {
    buffers: bool,
    clumps: bool,
    strips_header: bool,
    strips_query: bool,
    cuts_quiet: bool,
    sends_no_keep_alive: bool,
    compresses: bool,
    changes_cache_control: bool,
    serves_pages: bool,
    refuses_posts: bool,
    hides_health: bool,
}

struct FakeHub {
    faults: ProxyFaults,
    events: Mutex<Vec<String>>,
    stored: watch::Sender<usize>,
}

impl FakeHub {
    async fn start(faults: ProxyFaults) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(Self { faults, events: Mutex::default(), stored: watch::Sender::new(0) });
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let hub = Arc::clone(&hub);
                // A client that goes away in between ends its connection and nothing else.
                tokio::spawn(async move { hub.serve(socket).await.unwrap_or_default() });
            }
        });
        url
    }

    async fn serve(&self, mut socket: TcpStream) -> std::io::Result<()> {
        let (head, body) = read(&mut socket).await?;
        let answer = |status: &str, body: &str| {
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        };
        let answer = match head.split(' ').next().unwrap_or_default() {
            _ if head.starts_with("GET /healthz ") && self.faults.hides_health => answer("404 Not Found", ""),
            _ if head.starts_with("GET /healthz ") => answer("200 OK", "ok"),
            _ if self.faults.serves_pages => answer("200 OK\r\nContent-Type: text/html", "<h1>Hello</h1>"),
            "POST" if self.faults.refuses_posts => {
                answer("403 Forbidden", r#"{"code":"denied","detail":"Access denied"}"#)
            }
            "POST" => answer("200 OK", &format!(r#"{{"id":"h-{0}","offset":{0}}}"#, self.store(body))),
            _ => return self.stream(socket, &head).await,
        };
        socket.write_all(answer.as_bytes()).await
    }

    fn store(&self, data: String) -> usize {
        let mut events = self.events.lock().unwrap();
        events.push(data);
        self.stored.send_replace(events.len());
        events.len()
    }

    /// Returns the number of the id that this stream resumes from.
    fn cursor(&self, head: &str) -> usize {
        let head = head.to_ascii_lowercase();
        let after = |mark: &str| {
            let rest = head.split_once(mark)?.1;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        let header = after("last-event-id: h-").filter(|_| !self.faults.strips_header);
        let query = after("?lasteventid=h-").filter(|_| !self.faults.strips_query);
        header.or(query).unwrap_or_else(|| self.events.lock().unwrap().len())
    }

    async fn stream(&self, mut socket: TcpStream, head: &str) -> std::io::Result<()> {
        let mut cursor = self.cursor(head);
        let mut answer = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n\
                          Connection: close\r\n"
            .to_owned();
        answer.push_str(match self.faults.changes_cache_control {
            true => "Cache-Control: max-age=60\r\n",
            false => "Cache-Control: no-cache, no-transform\r\n",
        });
        if self.faults.compresses && head.contains("gzip") {
            answer.push_str("Content-Encoding: gzip\r\n");
        }
        answer.push_str("\r\n");
        if !self.faults.buffers {
            answer.push_str(&format!("retry: 1000\n: hello\nid: h-{cursor}\n\n"));
        }
        socket.write_all(answer.as_bytes()).await?;
        let mut stored = self.stored.subscribe();
        let mut is_kept_alive = false;
        loop {
            let count = *stored.borrow_and_update();
            let waits = self.faults.buffers || (self.faults.clumps && cursor > 0 && count < cursor + 5);
            if !waits {
                let events: Vec<String> = self.events.lock().unwrap()[cursor..count].to_vec();
                for data in events {
                    cursor += 1;
                    socket.write_all(format!("data: {data}\nid: h-{cursor}\n\n").as_bytes()).await?;
                }
            }
            if cursor == EVENTS_BEFORE_QUIET && self.faults.cuts_quiet {
                return Ok(());
            }
            if cursor == EVENTS_BEFORE_QUIET && !self.faults.sends_no_keep_alive && !is_kept_alive {
                is_kept_alive = true;
                socket.write_all(b": keep-alive\n\n").await?;
            }
            if stored.changed().await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn read(socket: &mut TcpStream) -> std::io::Result<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let length = lower.split_once("content-length: ").map_or(0, |(_, rest)| {
                rest.lines().next().and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(0)
            });
            if body.len() >= length {
                return Ok((head.to_owned(), body.to_owned()));
            }
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Timeouts for what arrives, so long that a slow machine changes nothing.
const LONG: Timeouts = Timeouts {
    answer: Duration::from_secs(20),
    first_bytes: Duration::from_secs(20),
    event: Duration::from_secs(20),
    pace: Duration::from_millis(50),
    keep_alive: Duration::from_secs(20),
};

/// Timeout for what never arrives.
const SHORT: Duration = Duration::from_millis(200);

async fn check_url(url: &str, timeouts: Timeouts) -> DoctorReport {
    let client = Client::builder(url).build().unwrap();
    let mut report = DoctorReport::new(false);
    Doctor::new(client, random_channel(), timeouts, &mut report).run().await;
    report
}

/// Checks a hub with these faults: which checks fail, each with advice that contains this text.
async fn assert_faults(faults: ProxyFaults, timeouts: Timeouts, expected: &[(&str, &str)]) -> DoctorReport {
    let report = check_url(&FakeHub::start(faults).await, timeouts).await;
    let failed: Vec<_> = report.results.iter().filter(|result| result.status == CheckStatus::Fail).collect();
    let names: Vec<_> = failed.iter().map(|result| result.name).collect();
    assert_eq!(names, expected.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{report:?}");
    for (result, (_, advice)) in failed.iter().zip(expected) {
        assert!(result.advice.as_ref().is_some_and(|text| text.contains(advice)), "{result:?}");
    }
    assert_eq!(report.is_good(), expected.is_empty());
    report
}

fn status(report: &DoctorReport, name: &str) -> Option<CheckStatus> {
    report.results.iter().find(|result| result.name == name).map(|result| result.status)
}

#[tokio::test]
async fn nothing_is_wrong_with_a_hub_without_a_proxy() {
    let report = assert_faults(ProxyFaults::default(), LONG, &[]).await;
    assert_eq!(report.results.len(), 12, "{report:?}");
    assert_eq!(status(&report, "idle"), Some(CheckStatus::Ok));
    assert_eq!(status(&report, "http_version"), Some(CheckStatus::Warn));
}

#[tokio::test]
async fn proxy_that_passes_streams_and_no_health_is_no_fault() {
    let report = assert_faults(ProxyFaults { hides_health: true, ..ProxyFaults::default() }, LONG, &[]).await;
    assert_eq!(status(&report, "reach"), Some(CheckStatus::Warn));
}

#[tokio::test]
async fn proxy_that_buffers_is_found_by_the_bytes_that_do_not_come() {
    let timeouts = Timeouts { first_bytes: SHORT, event: SHORT, ..LONG };
    let nginx = "proxy_buffering off;";
    let faults = ProxyFaults { buffers: true, ..ProxyFaults::default() };
    assert_faults(faults, timeouts, &[("first_bytes", nginx), ("event", nginx)]).await;
}

#[tokio::test]
async fn proxy_that_sends_in_clumps_is_found() {
    let faults = ProxyFaults { clumps: true, sends_no_keep_alive: true, ..ProxyFaults::default() };
    // The event published while away waits for four more, too.
    let timeouts = Timeouts { keep_alive: SHORT, event: Duration::from_secs(1), ..LONG };
    let report = check_url(&FakeHub::start(faults).await, timeouts).await;
    assert_eq!(status(&report, "paced"), Some(CheckStatus::Fail), "{report:?}");
    let result = report.results.iter().find(|result| result.name == "paced").unwrap();
    assert!(result.detail.contains("in clumps"), "{result:?}");
}

#[tokio::test]
async fn proxy_that_strips_last_event_id_is_found() {
    let faults = ProxyFaults { strips_header: true, ..ProxyFaults::default() };
    let timeouts = Timeouts { event: Duration::from_secs(1), ..LONG };
    assert_faults(faults, timeouts, &[("resume_header", "let Last-Event-ID through")]).await;
}

#[tokio::test]
async fn proxy_that_strips_the_query_is_found() {
    let faults = ProxyFaults { strips_query: true, ..ProxyFaults::default() };
    let timeouts = Timeouts { event: Duration::from_secs(1), ..LONG };
    assert_faults(faults, timeouts, &[("resume_query", "pass it on")]).await;
}

#[tokio::test]
async fn proxy_that_cuts_quiet_streams_is_found() {
    let faults = ProxyFaults { cuts_quiet: true, ..ProxyFaults::default() };
    assert_faults(faults, LONG, &[("idle", "proxy_read_timeout 1h;")]).await;
}

#[tokio::test]
async fn keep_alive_that_does_not_come_in_time_is_a_warning() {
    let faults = ProxyFaults { sends_no_keep_alive: true, ..ProxyFaults::default() };
    let timeouts = Timeouts { keep_alive: SHORT, ..LONG };
    let report = assert_faults(faults, timeouts, &[]).await;
    assert_eq!(status(&report, "idle"), Some(CheckStatus::Warn));
}

#[tokio::test]
async fn no_wait_leaves_the_quiet_stream_out() {
    let timeouts = Timeouts { keep_alive: Duration::ZERO, ..LONG };
    assert_eq!(status(&assert_faults(ProxyFaults::default(), timeouts, &[]).await, "idle"), None);
}

#[tokio::test]
async fn compression_is_found_and_the_rest_examined_without() {
    let faults = ProxyFaults { compresses: true, ..ProxyFaults::default() };
    let report = assert_faults(faults, LONG, &[("encoding", "gzip_types")]).await;
    assert_eq!(status(&report, "resume_query"), Some(CheckStatus::Ok));
}

#[tokio::test]
async fn changed_cache_control_is_found() {
    let faults = ProxyFaults { changes_cache_control: true, ..ProxyFaults::default() };
    assert_faults(faults, LONG, &[("cache_control", "Cache-Control")]).await;
}

#[tokio::test]
async fn page_in_place_of_a_stream_is_found() {
    let faults = ProxyFaults { serves_pages: true, ..ProxyFaults::default() };
    assert_faults(faults, LONG, &[("open", "send /api/ to the hub")]).await;
}

#[tokio::test]
async fn publish_that_is_refused_asks_for_a_token() {
    let faults = ProxyFaults { refuses_posts: true, ..ProxyFaults::default() };
    assert_faults(faults, LONG, &[("event", "--token")]).await;
}

#[tokio::test]
async fn hub_that_is_not_there_is_one_fault() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let report = check_url(&url, LONG).await;
    assert_eq!(status(&report, "reach"), Some(CheckStatus::Fail));
    let document: serde_json::Value = serde_json::from_str(&report.json(&url)).unwrap();
    assert_eq!((&document["ok"], &document["steps"][0]["name"]), (&false.into(), &"reach".into()));
    assert_eq!(report.summary(), "1 fault\n");
}

#[test]
fn channel_of_the_doctor_is_valid_and_its_own() {
    let (one, two) = (random_channel(), random_channel());
    assert_ne!(one, two);
    assert!(tidings_protocol::ChannelName::parse(&one).is_ok());
}
