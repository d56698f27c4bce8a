//! The doctor, and a small hub behind proxies with one fault each.

use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tidings_client::Client;
use tidings_testkit::{StubReply, StubRequest};

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
    stored: Condvar,
}

impl FakeHub {
    fn start(faults: ProxyFaults) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(Self { faults, events: Mutex::default(), stored: Condvar::new() });
        thread::spawn(move || {
            for socket in listener.incoming() {
                let hub = Arc::clone(&hub);
                // A client that closes its connection ends this thread only.
                thread::spawn(move || hub.serve(&socket.unwrap()).unwrap_or_default());
            }
        });
        url
    }

    fn serve(&self, mut socket: &TcpStream) -> io::Result<()> {
        let Some(request) = StubRequest::read(&mut BufReader::new(socket)) else { return Ok(()) };
        let reply = |status: &str, body: &str| StubReply::response(status, "Connection: close\r\n", body);
        let reply = match request.line().split(' ').next().unwrap_or_default() {
            _ if request.line().starts_with("GET /healthz ") && self.faults.hides_health => {
                reply("404 Not Found", "")
            }
            _ if request.line().starts_with("GET /healthz ") => reply("200 OK", "ok"),
            _ if self.faults.serves_pages => reply("200 OK\r\nContent-Type: text/html", "<h1>Hello</h1>"),
            "POST" if self.faults.refuses_posts => {
                reply("403 Forbidden", r#"{"code":"denied","detail":"Access denied"}"#)
            }
            "POST" => {
                let offset = self.store(request.body);
                reply("200 OK", &format!(r#"{{"id":"h-{offset}","offset":{offset}}}"#))
            }
            _ => return self.stream(socket, &request.head),
        };
        socket.write_all(&reply.bytes)
    }

    fn store(&self, data: String) -> usize {
        let mut events = self.events.lock().unwrap();
        events.push(data);
        self.stored.notify_all();
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

    fn stream(&self, mut socket: &TcpStream, head: &str) -> io::Result<()> {
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
        socket.write_all(answer.as_bytes())?;
        let mut is_kept_alive = false;
        let mut events = self.events.lock().unwrap();
        loop {
            let waits =
                self.faults.buffers || (self.faults.clumps && cursor > 0 && events.len() < cursor + 5);
            if !waits {
                for data in &events[cursor..] {
                    cursor += 1;
                    socket.write_all(format!("data: {data}\nid: h-{cursor}\n\n").as_bytes())?;
                }
            }
            if cursor == EVENTS_BEFORE_QUIET && self.faults.cuts_quiet {
                return Ok(());
            }
            if cursor == EVENTS_BEFORE_QUIET && !self.faults.sends_no_keep_alive && !is_kept_alive {
                is_kept_alive = true;
                socket.write_all(b": keep-alive\n\n")?;
            }
            events = self.stored.wait(events).unwrap();
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
    let report = check_url(&FakeHub::start(faults), timeouts).await;
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
    let report = check_url(&FakeHub::start(faults), timeouts).await;
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
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
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
