//! The doctor, and a small hub behind proxies with one fault each.

use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tidings_client::Client;
use tidings_testkit::{StubReply, StubRequest, free_port};

use super::checks::Doctor;
use super::report::{CheckStatus, DoctorReport};
use super::*;

/// The first event and the paced ones: after these the stream is quiet.
const EVENTS_BEFORE_QUIET: usize = 21;

/// Faults of the proxy.
#[derive(Clone, Copy, Debug, Default)]
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

/// Faults of a proxy, timeouts, the checks that fail with texts of their advice, and statuses of other checks.
type FaultCase = (
    ProxyFaults,
    Timeouts,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, Option<CheckStatus>)],
);

/// Checks a hub with these faults.
async fn assert_faults((faults, timeouts, expected, others): FaultCase) -> DoctorReport {
    let report = check_url(&FakeHub::start(faults), timeouts).await;
    let failed: Vec<_> = report.results.iter().filter(|result| result.status == CheckStatus::Fail).collect();
    let names: Vec<_> = failed.iter().map(|result| result.name).collect();
    assert_eq!(names, expected.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{faults:?}: {report:?}");
    for (result, (_, advice)) in failed.iter().zip(expected) {
        assert!(result.advice.as_ref().is_some_and(|text| text.contains(advice)), "{faults:?}: {result:?}");
    }
    assert_eq!(report.is_good(), expected.is_empty(), "{faults:?}");
    for (name, expected) in others {
        assert_eq!(status(&report, name), *expected, "{name} of {faults:?}: {report:?}");
    }
    report
}

fn status(report: &DoctorReport, name: &str) -> Option<CheckStatus> {
    report.results.iter().find(|result| result.name == name).map(|result| result.status)
}

#[tokio::test]
async fn hub_without_a_proxy_has_no_fault() {
    let others: &[_] = &[("idle", Some(CheckStatus::Ok)), ("http_version", Some(CheckStatus::Warn))];
    let report = assert_faults((ProxyFaults::default(), LONG, &[], others)).await;
    assert_eq!(report.results.len(), 12, "{report:?}");
}

#[tokio::test]
async fn each_fault_of_a_proxy_is_found_with_advice() {
    const OK: Option<CheckStatus> = Some(CheckStatus::Ok);
    const WARN: Option<CheckStatus> = Some(CheckStatus::Warn);
    const NGINX: &str = "proxy_buffering off;";
    let none = ProxyFaults::default();
    let quick = Timeouts { event: Duration::from_secs(1), ..LONG };
    let no_bytes = Timeouts { first_bytes: SHORT, event: SHORT, ..LONG };
    let no_keep_alive = Timeouts { keep_alive: SHORT, ..LONG };
    let no_wait = Timeouts { keep_alive: Duration::ZERO, ..LONG };
    let header: &[_] = &[("resume_header", "let Last-Event-ID through")];
    let cases: [FaultCase; 11] = [
        (ProxyFaults { hides_health: true, ..none }, LONG, &[], &[("reach", WARN)]),
        (ProxyFaults { buffers: true, ..none }, no_bytes, &[("first_bytes", NGINX), ("event", NGINX)], &[]),
        (ProxyFaults { strips_header: true, ..none }, quick, header, &[]),
        (ProxyFaults { strips_query: true, ..none }, quick, &[("resume_query", "pass it on")], &[]),
        (ProxyFaults { cuts_quiet: true, ..none }, LONG, &[("idle", "proxy_read_timeout 1h;")], &[]),
        (ProxyFaults { sends_no_keep_alive: true, ..none }, no_keep_alive, &[], &[("idle", WARN)]),
        (none, no_wait, &[], &[("idle", None)]),
        (
            ProxyFaults { compresses: true, ..none },
            LONG,
            &[("encoding", "gzip_types")],
            &[("resume_query", OK)],
        ),
        (
            ProxyFaults { changes_cache_control: true, ..none },
            LONG,
            &[("cache_control", "Cache-Control")],
            &[],
        ),
        (ProxyFaults { serves_pages: true, ..none }, LONG, &[("open", "send /api/ to the hub")], &[]),
        (ProxyFaults { refuses_posts: true, ..none }, LONG, &[("event", "--token")], &[]),
    ];
    // At once: each mostly waits.
    let checks = cases.map(|case| tokio::spawn(assert_faults(case)));
    for check in checks {
        check.await.unwrap();
    }
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
async fn unreachable_hub_is_one_fault() {
    let url = format!("http://127.0.0.1:{}", free_port());
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
