//! `tidings bench` against real hubs, and against servers that lose and duplicate events.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use crate::prelude::*;

fn arguments<'a>(hub: &'a TestHub, more: &'a str) -> Vec<&'a str> {
    ["bench", "--url", &hub.url].into_iter().chain(more.split_whitespace()).collect()
}

/// Runs a bench with the hub's URL and these arguments.
fn bench(hub: &TestHub, more: &str) -> ProgramOutput {
    hub.run(&arguments(hub, more), &[])
}

/// Returns the JSON report of a bench that exited with this code.
#[track_caller]
fn json(outcome: &ProgramOutput, code: i32) -> Value {
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"))
}

#[track_caller]
fn count(report: &Value, place: &str) -> u64 {
    let value = report.pointer(place).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("no count at {place} in {report:#}"))
}

#[track_caller]
fn figure(report: &Value, place: &str) -> f64 {
    let value = report.pointer(place).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no figure at {place} in {report:#}"))
}

/// Asserts that every event reached every stream once, in order.
#[track_caller]
fn assert_clean(report: &Value) {
    for place in ["lost", "lostTold", "missedAway", "duplicates", "outOfOrder", "gaps", "foreign"] {
        assert_eq!(count(report, &format!("/deliveries/{place}")), 0, "{place}: {report:#}");
    }
    assert_eq!(count(report, "/deliveries/received"), count(report, "/deliveries/expected"), "{report:#}");
    assert_eq!(report["faults"], serde_json::json!([]), "{report:#}");
}

#[test]
fn every_event_reaches_every_stream_of_a_hub() {
    let hub = TestHub::in_memory(&[]);
    let report = json(&bench(&hub, "-c 50 -r 100 -s 1 --warm-up 0.2 --json"), 0);
    assert_clean(&report);
    assert_eq!(count(&report, "/connections/opened"), 50);
    assert!(figure(&report, "/connections/perSecond") > 0.0);
    let events = count(&report, "/publishes/eventsInAll");
    assert!((100..=130).contains(&events), "{report:#}");
    assert_eq!(count(&report, "/publishes/answered"), events);
    assert_eq!(count(&report, "/deliveries/received"), 50 * events);
    let measured = count(&report, "/publishes/events");
    assert_eq!(count(&report, "/publishes/answerMs/count"), measured);
    assert_eq!(count(&report, "/latencyMs/count"), 50 * measured);
    let latencies =
        ["p50", "p90", "p99", "p999", "max"].map(|at| figure(&report, &format!("/latencyMs/{at}")));
    assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{latencies:?}");
    assert_eq!(report["server"]["pids"], serde_json::json!([hub.id()]));
    assert!(figure(&report, "/server/cpuSeconds") > 0.0);
    assert!(count(&report, "/server/memoryKib/peak") >= count(&report, "/server/memoryKib/idle"));
    assert!(figure(&report, "/load/cpuSeconds") < 2.0);
}

#[test]
fn summary_names_result_and_figures() {
    let hub = TestHub::in_memory(&[]);
    let outcome = bench(&hub, "-c 3 -r 20 -s 0.5 --warm-up 0");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    for words in
        ["3 of 3 opened", "deliveries/s", "lost 0, doubled 0, out of order 0", "p99.9", "memory", "✓"]
    {
        assert!(outcome.stdout.contains(words), "{words}: {outcome:?}");
    }
}

#[test]
fn batches_and_many_channels_are_counted_as_single_events_are() {
    let hub = TestHub::in_memory(&[]);
    for arguments in
        ["--batch 10 --channels 20 --rate 500", "--channels 3 --rate max", "--batch 7 --rate max --size 500"]
    {
        let arguments = format!("-c 40 -s 0.5 --warm-up 0.1 --json {arguments}");
        let report = json(&bench(&hub, &arguments), 0);
        assert_clean(&report);
        assert!(count(&report, "/publishes/events") > 100, "{report:#}");
    }
}

#[test]
fn reconnect_storms_and_slow_readers_lose_nothing() {
    let hub = TestHub::in_memory(&[]);
    let arguments = "-c 40 -r 200 -s 2 --warm-up 0 --storm 0.4 --storm-share 60 --slow 2 --stuck 2 --json";
    let report = json(&bench(&hub, arguments), 0);
    assert_clean(&report);
    assert!(count(&report, "/storms/count") >= 2, "{report:#}");
    assert_eq!(count(&report, "/storms/backMs/count"), count(&report, "/storms/cut"));
    assert!(count(&report, "/slow/received") > 0);
    assert_eq!(count(&report, "/slow/lost"), 0);
    assert_eq!(count(&report, "/stuck/streams"), 2);
}

#[test]
fn streams_without_events_are_measured() {
    let hub = TestHub::in_memory(&[]);
    let report = json(&bench(&hub, "-c 20 -r 0 -s 0.3 --warm-up 0 --json"), 0);
    assert_eq!(count(&report, "/deliveries/expected"), 0);
    assert!(figure(&report, "/server/memoryKibPerConnection") >= 0.0);
}

/// A running bench. It is killed when it is dropped.
struct BenchProcess {
    process: ChildProcess,
    stdout: Receiver<String>,
}

impl BenchProcess {
    /// Starts a bench, and waits until it has delivered events.
    fn start(hub: &TestHub, more: &str) -> Self {
        let mut command = hub.command(&arguments(hub, more));
        let mut process = ChildProcess::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()));
        let stdout = read_lines(process.take_stdout());
        eventually("events are delivered", || hub.metric("tidings_events_delivered_total") > 100.0);
        Self { process, stdout }
    }

    fn wait(mut self) -> ProgramOutput {
        let stdout = self.stdout.iter().collect();
        ProgramOutput { code: self.process.wait().code(), stdout, stderr: String::new() }
    }
}

#[test]
fn hub_that_dies_under_load_is_reported_as_a_fault() {
    let hub = TestHub::in_memory(&[]);
    let bench = BenchProcess::start(&hub, "-c 10 -r 100 -s 60 --json");
    hub.kill();
    let report = json(&bench.wait(), 1);
    assert_eq!(count(&report, "/connections/closed"), 10);
    assert_eq!(count(&report, "/connections/away"), 10);
    assert!(count(&report, "/publishes/failed") > 0, "{report:#}");
    let faults = report["faults"].to_string();
    assert!(faults.contains("were not back") && faults.contains("the server has gone"), "{faults}");
}

#[test]
fn interrupted_bench_prints_its_figures_so_far() {
    let hub = TestHub::in_memory(&[]);
    let bench = BenchProcess::start(&hub, "-c 10 -r 100 -s 600 --warm-up 0 --json");
    bench.process.signal(Signal::INT);
    let report = json(&bench.wait(), 0);
    assert_clean(&report);
    assert_eq!(report["wasStopped"], true);
    assert!(count(&report, "/deliveries/received") > 100);
}

#[test]
fn refusal_is_printed_with_its_code_and_a_remedy() {
    let hub = protected("");
    let outcome = bench(&hub, "-c 5 -s 1");
    outcome.assert(1, &["none of 5 streams", "status 401 credentials_missing", "--token", "bench.*"]);
    assert_eq!(outcome.stdout, "");
    let report = json(&bench(&hub, &format!("-c 5 -s 0.3 --json --token {KEY}")), 0);
    assert_clean(&report);
}

#[test]
fn refused_stream_is_printed_and_reported_as_a_fault() {
    let hub = TestHub::in_memory(&[("TIDINGS_LIMITS_CONNECTIONS", "7")]);
    let report = json(&bench(&hub, "-c 10 -r 50 -s 0.3 --warm-up 0 --json"), 1);
    assert_eq!(count(&report, "/connections/opened"), 7);
    assert_eq!(count(&report, "/connections/failed"), 3);
    let failure = &report["connections"]["failures"][0];
    assert_eq!((&failure["status"], &failure["count"]), (&503.into(), &3.into()), "{report:#}");
    assert_eq!(count(&report, "/deliveries/received"), count(&report, "/deliveries/expected"));
    assert_eq!(report["faults"], serde_json::json!(["3 streams did not open"]));
}

#[test]
fn address_without_a_listener_is_a_clear_error() {
    let directory = TempDirectory::create();
    let bench = |url: &str| directory.run(&["bench", "--url", url, "-c", "2"], &[]);
    let address = format!("127.0.0.1:{}", free_port());
    let expected = [&*address, "refused", "see that a server listens there"];
    bench(&format!("http://{address}")).assert(1, &expected);
    bench("https://127.0.0.1").assert(2, &["plain HTTP only"]);
}

/// Events that a server of another kind sends for one publish; it gets the number of events so far, and the text.
type DeliverFn = fn(usize, &str) -> Vec<String>;

/// A server of another kind: `GET /sub` streams without ids or chunks, `POST /pub` sends the result of `deliver` to all streams.
struct ForeignServer {
    port: u16,
}

impl ForeignServer {
    fn start(deliver: DeliverFn) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let streams: Arc<Mutex<Vec<SyncSender<String>>>> = Arc::default();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let streams = Arc::clone(&streams);
                std::thread::spawn(move || serve(socket.unwrap(), &streams, deliver));
            }
        });
        Self { port }
    }

    fn bench(&self, arguments: &str) -> ProgramOutput {
        let subscribe = format!("http://127.0.0.1:{}/sub/{{channel}}?n={{n}}", self.port);
        let publish = format!("http://127.0.0.1:{}/pub/{{channel}}", self.port);
        let body = "{\"channel\":\"{channel}\",\"text\":\"{data_json}\"}";
        let first = ["bench", "--subscribe", &subscribe, "--publish", &publish, "--body", body];
        let with_header = ["--publish-method", "PUT", "--publish-header", "X-Key: 1"];
        let arguments = first.into_iter().chain(with_header).chain(arguments.split_whitespace());
        TempDirectory::create().run(&arguments.collect::<Vec<_>>(), &[])
    }
}

fn serve(mut socket: TcpStream, streams: &Mutex<Vec<SyncSender<String>>>, deliver: DeliverFn) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut count = 0;
    while let Some(StubRequest { head, body }) = StubRequest::read(&mut reader) {
        if head.starts_with("GET /sub/bench.0?n=") {
            let (sender, receiver) = sync_channel(1_000);
            streams.lock().unwrap().push(sender);
            let _ = socket.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
            // A client that closes its connection ends this loop.
            receiver.iter().take_while(|event| socket.write_all(event.as_bytes()).is_ok()).count();
            return;
        }
        assert!(head.starts_with("PUT /pub/bench.0 HTTP/1.1") && head.contains("X-Key: 1"), "{head}");
        for event in deliver(count, &body) {
            for stream in &*streams.lock().unwrap() {
                stream.send(format!("data: {event}\r\n\r\n")).unwrap();
            }
        }
        count += 1;
        let _ = socket.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok");
    }
}

#[test]
fn server_of_another_kind_is_measured_by_url_templates() {
    let other = ForeignServer::start(|_, event| vec![event.to_owned()]);
    let report = json(&other.bench("-c 5 -r 100 -s 0.5 --warm-up 0 --json"), 0);
    assert_clean(&report);
    assert!(count(&report, "/deliveries/received") > 100, "{report:#}");
}

#[test]
fn silent_loss_duplicates_and_disorder_are_reported_as_faults() {
    let faulty = |deliver: DeliverFn| {
        let server = ForeignServer::start(deliver);
        json(&server.bench("-c 2 -r 50 -s 0.5 --warm-up 0 --publishers 1 --json"), 1)
    };
    let report = faulty(|count, event| if count == 5 { vec![] } else { vec![event.to_owned()] });
    assert_eq!(count(&report, "/deliveries/lost"), 2, "{report:#}");
    assert_eq!(report["faults"], serde_json::json!(["2 events were lost silently"]));

    let report = faulty(|count, event| vec![event.to_owned(); 1 + usize::from(count == 5)]);
    assert_eq!(count(&report, "/deliveries/duplicates"), 2, "{report:#}");

    let report = faulty(|count, event| {
        static HELD: Mutex<Option<String>> = Mutex::new(None);
        if count == 5 {
            *HELD.lock().unwrap() = Some(event.to_owned());
            return vec![];
        }
        std::iter::once(event.to_owned()).chain(HELD.lock().unwrap().take()).collect()
    });
    assert_eq!(count(&report, "/deliveries/outOfOrder"), 2, "{report:#}");
    assert_eq!(count(&report, "/deliveries/lost"), 0, "{report:#}");
}
