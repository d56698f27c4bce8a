//! A stub server whose stream is known byte by byte, read by a reader.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::client_context::ClientSettings;
use crate::history::{DeliveryClass, History, LogPosition, PublishResult};
use crate::oracle::{LogRecord, LossRule, Oracle};

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
        // A reader that was cut has closed its socket.
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

fn context(address: SocketAddr, seed: u64) -> Arc<ClientContext> {
    let settings = ClientSettings {
        seed,
        publishers: 0,
        idempotent: 0.0,
        pad_max: 0,
        pauses_max: &[0],
        readers: 1,
        patterns: &["check.strict.*"],
        with_history: 1.0,
        has_reader_faults: true,
        long_absences: 0.0,
    };
    let nodes = vec![NodeEndpoint { address, ending: watch::channel(0).1 }];
    let history = Arc::new(History::new(vec!["check.strict.0".into()], false));
    Arc::new(ClientContext { settings, nodes, history, counters: Arc::default() })
}

/// Runs one reader against the stub server; its seed decides the cuts. Returns the violations and the deliveries.
async fn violations_with(seed: u64, withheld: Vec<u64>) -> (Vec<ViolationKind>, u64) {
    let events = 40;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, events, withheld));
    let context = context(address, seed);
    let (history, counters) = (&context.history, &context.counters);
    let mut log = Vec::new();
    for number in 0..events {
        let label = EventLabel { publisher: 0, number };
        let position = LogPosition { generation: 0, offset: number + 1, tag: 1 };
        history.begin_publish(
            label,
            &[0],
            DeliveryClass::Strict,
            None,
            &format!("{{\"p\":0,\"n\":{number}}}"),
        );
        let result = PublishResult::Acknowledged { position, at: history.now(), node: 0 };
        history.complete_publish(label, result, false);
        log.push(LogRecord { position, channels: history.channels.clone(), label });
    }
    let reader = Reader::new(0, Arc::clone(&context));
    let closing = vec![EventLabel { publisher: 0, number: events - 1 }];
    let (drain, drained) = watch::channel(None);
    let running = tokio::spawn(reader.run(drained));
    // After two resumes the reader may catch up.
    while counters.get(Count::Resumes) < 2 {
        tokio::task::yield_now().await;
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    let position = LogPosition { generation: 0, offset: events, tag: 1 };
    let last = ClosingEvent { label: closing[0], begun: PhaseTime::ZERO, position };
    drain.send_replace(Some(ClosingEvents { events: Arc::new(vec![last]), deadline }));
    let (readers, mut violations) = running.await.unwrap();
    server.abort();
    let oracle = Oracle::new(history, log, readers, closing, LossRule::Never);
    violations.extend(oracle.compare().violations);
    let kinds = violations.into_iter().map(|violation| violation.kind).collect();
    (kinds, counters.get(Count::Deliveries))
}

#[tokio::test]
async fn reader_finds_each_event_that_its_server_loses_and_no_other() {
    let mut runs = tokio::task::JoinSet::new();
    for seed in 0..20 {
        runs.spawn(async move {
            (seed, violations_with(seed, vec![]).await, violations_with(seed, vec![17]).await)
        });
    }
    while let Some(run) = runs.join_next().await {
        let (seed, whole, without) = run.unwrap();
        assert_eq!(whole, (vec![], 40), "seed {seed}");
        assert_eq!(without, (vec![ViolationKind::Lost], 39), "seed {seed}");
    }
}

#[test]
fn position_that_comes_with_the_open_notice_is_kept() {
    let mut reader = Reader::new(0, context("127.0.0.1:1".parse().unwrap(), 0));
    let id = format!("{EPOCH}-7-00000001");
    let notice = MessageEvent { name: "tidings.open".into(), data: "{}".into(), last_event_id: id };
    reader.item(StreamItem::Event(notice));
    let expected = LogPosition { generation: 0, offset: 7, tag: 1 };
    let observations = &reader.present.observations;
    assert!(
        matches!(observations[..], [Observation { item: ObservedItem::Position(position), .. }] if position == expected)
    );
}
