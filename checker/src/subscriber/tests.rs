//! A stub server whose stream is known byte by byte, read by a subscriber.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::oracle::{DeliveryClass, EventLabel, GapRule, PhaseRules, ReconstructedLog, compare_record};

const EPOCH: &str = "0123456789abcdef";

fn event(number: u64) -> String {
    format!("data: {{\"p\":0,\"n\":{number}}}\nid: {EPOCH}-{}-00000001\n\n", number + 1)
}

/// Serves one stream after another: from the requested id, all events except the withheld ones.
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

/// Runs one subscriber against the stub server; its seed decides the cuts. Returns the violations and the deliveries.
async fn violations_with(seed: u64, withheld: Vec<u64>) -> (Vec<ViolationKind>, u64) {
    let events = 40;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, events, withheld));
    let oracle = Arc::new(Oracle::new(vec!["check.strict.0".into()], 1, false));
    for number in 0..events {
        let label = EventLabel { publisher: 0, number };
        oracle.register(label, vec![0], DeliveryClass::Strict, None, &format!("{{\"p\":0,\"n\":{number}}}"));
        oracle.acknowledge(label, LogPosition { generation: 0, offset: number + 1 }).unwrap();
    }
    let options = SubscriberOptions {
        index: 0,
        subscriptions: vec![Subscription::parse("check.strict.0").unwrap()],
        address,
        seed,
        wants_history: true,
        absence_max: Duration::ZERO,
        ending: watch::channel(0).1,
    };
    let counters = Arc::new(Counters::default());
    let subscriber = FaultySubscriber::new(options, Arc::clone(&oracle), Arc::clone(&counters));
    let target = LogPosition { generation: 0, offset: events };
    let (drain, drained) = watch::channel(None);
    let running = tokio::spawn(subscriber.run(drained));
    // After two resumes the subscriber may catch up.
    while crate::counters::get(&counters.resumes) < 2 {
        tokio::task::yield_now().await;
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    drain.send_replace(Some(DrainTargets { targets: Arc::new(vec![target]), deadline }));
    let (record, mut violations) = running.await.unwrap();
    server.abort();
    let (log, found) = ReconstructedLog::build(&oracle, std::slice::from_ref(&record), &[]);
    violations.extend(found);
    violations.extend(compare_record(
        &log,
        &record,
        &PhaseRules { gaps: GapRule::Never, targets: vec![target] },
    ));
    (
        violations.into_iter().map(|violation| violation.kind).collect(),
        crate::counters::get(&counters.deliveries),
    )
}

#[tokio::test]
async fn subscriber_of_a_whole_stream_finds_no_violation() {
    for seed in 0..20 {
        assert_eq!(violations_with(seed, Vec::new()).await, (Vec::new(), 40), "seed {seed}");
    }
}

#[tokio::test]
async fn subscriber_of_a_server_that_loses_an_event_reports_it() {
    for seed in 0..20 {
        assert_eq!(violations_with(seed, vec![17]).await, (vec![ViolationKind::Lost], 39), "seed {seed}");
    }
}

#[test]
fn position_that_comes_with_the_open_notice_is_kept() {
    let oracle = Arc::new(Oracle::new(vec!["check.strict.0".into()], 1, false));
    let options = SubscriberOptions {
        index: 0,
        subscriptions: vec![Subscription::parse("check.strict.0").unwrap()],
        address: "127.0.0.1:1".parse().unwrap(),
        seed: 0,
        wants_history: false,
        absence_max: Duration::ZERO,
        ending: watch::channel(0).1,
    };
    let mut subscriber = FaultySubscriber::new(options, oracle, Arc::default());
    let body = format!("event: tidings.open\ndata: {{}}\nid: {EPOCH}-7-00000001\n\n");
    let mut decoder = StreamDecoder::new("");
    assert_eq!(
        subscriber.decode(&mut decoder, &mut StreamPlan::steady(), Ok(Some(body.into()))),
        StreamStep::Continue
    );
    assert_eq!(subscriber.cursor, Some(LogPosition { generation: 0, offset: 7 }));
    assert!(matches!(
        subscriber.observations[..],
        [Observation::Position(LogPosition { generation: 0, offset: 7 })]
    ));
}
