//! A made-up server whose stream is known byte by byte, and what a subscriber makes of it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::truth::{Gaps, Kind, Label, Log, Rules, compare_record};

const EPOCH: &str = "0123456789abcdef";

fn event(number: u64) -> String {
    format!("data: {{\"p\":0,\"n\":{number}}}\nid: {EPOCH}-{}-00000001\n\n", number + 1)
}

/// Serves one stream after the other: from the id that the request names, all events but those withheld.
async fn serve(listener: TcpListener, events: u64, withheld: Vec<u64>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let request = read_request(&mut stream).await;
        let marker = format!("{EPOCH}-");
        let cursor = request.split(&marker).nth(1).and_then(|rest| rest.split('-').next());
        let cursor: u64 = cursor.map_or(0, |offset| offset.parse().unwrap());
        let mut body = format!("retry: 10\n: hello\nid: {EPOCH}-{cursor}-00000001\n\n");
        (cursor..events)
            .filter(|number| !withheld.contains(number))
            .for_each(|number| body += &event(number));
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let frame = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        // A subscriber that was cut has closed its socket.
        let _ = stream.write_all(frame.as_bytes()).await;
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8(request).unwrap()
}

/// Runs one subscriber, cut as its seed has it, against the made-up server, and returns the faults.
async fn faults_with(seed: u64, withheld: Vec<u64>) -> (Vec<FaultKind>, u64) {
    let events = 40;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, events, withheld));
    let truth = Arc::new(Truth::new(vec!["check.strict.0".into()], 1, false));
    for number in 0..events {
        let label = Label { publisher: 0, number };
        truth.register(label, vec![0], Kind::Strict, None, &format!("{{\"p\":0,\"n\":{number}}}"));
        truth.acknowledge(label, Place { life: 0, offset: number + 1 }).unwrap();
    }
    let options = Options {
        index: 0,
        subscriptions: vec![Subscription::parse("check.strict.0").unwrap()],
        address,
        seed,
        wants_history: true,
        absence_max: Duration::ZERO,
        ending: watch::channel(0).1,
    };
    let figures = Arc::new(Figures::default());
    let subscriber = Subscriber::new(options, Arc::clone(&truth), Arc::clone(&figures));
    let target = Place { life: 0, offset: events };
    let (drain, drained) = watch::channel(None);
    let running = tokio::spawn(subscriber.run(drained));
    // Once it was cut and came back, it may catch up.
    while crate::report::get(&figures.resumes) < 2 {
        tokio::task::yield_now().await;
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    drain.send_replace(Some(Drain { targets: Arc::new(vec![target]), deadline }));
    let (record, mut faults) = running.await.unwrap();
    server.abort();
    let (log, found) = Log::build(&truth, std::slice::from_ref(&record), &[]);
    faults.extend(found);
    faults.extend(compare_record(&log, &record, &Rules { gaps: Gaps::Never, targets: vec![target] }));
    (faults.into_iter().map(|fault| fault.kind).collect(), crate::report::get(&figures.deliveries))
}

#[tokio::test]
async fn subscriber_of_a_whole_stream_finds_no_fault() {
    for seed in 0..20 {
        assert_eq!(faults_with(seed, Vec::new()).await, (Vec::new(), 40), "seed {seed}");
    }
}

#[tokio::test]
async fn subscriber_of_a_server_that_loses_an_event_reports_it() {
    for seed in 0..20 {
        assert_eq!(faults_with(seed, vec![17]).await, (vec![FaultKind::Lost], 39), "seed {seed}");
    }
}

#[test]
fn position_that_comes_with_the_open_notice_is_kept() {
    let truth = Arc::new(Truth::new(vec!["check.strict.0".into()], 1, false));
    let options = Options {
        index: 0,
        subscriptions: vec![Subscription::parse("check.strict.0").unwrap()],
        address: "127.0.0.1:1".parse().unwrap(),
        seed: 0,
        wants_history: false,
        absence_max: Duration::ZERO,
        ending: watch::channel(0).1,
    };
    let mut subscriber = Subscriber::new(options, truth, Arc::default());
    let body = format!("event: tidings.open\ndata: {{}}\nid: {EPOCH}-7-00000001\n\n");
    let framed = format!("{:x}\r\n{body}\r\n", body.len());
    let mut reader = Reader::new("");
    assert_eq!(subscriber.take(&mut reader, &mut Plan::steady(), framed.as_bytes()), Step::Continue);
    assert_eq!(subscriber.cursor, Some(Place { life: 0, offset: 7 }));
    assert!(matches!(subscriber.seen[..], [Seen::Position(Place { life: 0, offset: 7 })]));
}
