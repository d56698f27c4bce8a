//! In-process publishing and subscribing, and the hub's routes in a host application.

use std::{net::TcpListener, time::Duration};

use axum::{Router, extract::State, routing::get};
use futures_util::{FutureExt, StreamExt};
use http_body_util::BodyExt;
use tidings::config::Settings;
use tidings::{
    Code, Delivery, EndReason, EventBody, EventStream, GapReason, HistoryRequest, Hub, Publication, Start,
    StreamOptions, Subscription,
};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::oneshot, time::timeout};

use crate::served_hub::{DEADLINE, TextReader, channel};

/// A hub with a short shutdown window.
async fn hub() -> Hub {
    let mut settings = Settings::default();
    settings.shutdown.window = Duration::from_millis(400);
    Hub::builder().settings(settings).memory().build().await.expect("a hub in memory opens")
}

async fn publish(hub: &Hub, name: &str, text: impl Into<String>) {
    hub.publish(Publication::new(channel(name), text)).await.unwrap();
}

async fn next(stream: &mut EventStream) -> Option<Delivery> {
    timeout(DEADLINE, stream.next()).await.expect("a delivery comes in time")
}

/// The texts of the next `count` events; anything else fails the test.
async fn texts(stream: &mut EventStream, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        match next(stream).await {
            Some(Delivery::Event(event)) => texts.push(event.data),
            other => panic!("not an event: {other:?}"),
        }
    }
    texts
}

#[tokio::test]
async fn published_events_reach_a_subscriber_in_order() {
    let hub = hub().await;
    let mut stream = hub.subscribe(["orders.*"], Start::Now).unwrap();
    for number in 0..5 {
        publish(&hub, "orders.1", number.to_string()).await;
    }
    assert_eq!(texts(&mut stream, 5).await, ["0", "1", "2", "3", "4"]);
    hub.shutdown().await;
}

#[tokio::test]
async fn a_subscriber_that_comes_back_gets_what_it_missed_once() {
    let hub = hub().await;
    let mut stream = hub.subscribe(["a"], Start::Now).unwrap();
    // Both events are in one chunk; the subscriber has taken the first only.
    for text in ["seen", "not taken"] {
        publish(&hub, "a", text).await;
    }
    assert_eq!(texts(&mut stream, 1).await, ["seen"]);
    let last = stream.last_event_id().to_owned();
    drop(stream);
    hub.publish(Publication::new(channel("a"), "missed").and(channel("b"))).await.unwrap();
    let mut stream = hub.subscribe([channel("a"), channel("b")], Start::After(last)).unwrap();
    publish(&hub, "a", "live").await;
    assert_eq!(texts(&mut stream, 3).await, ["not taken", "missed", "live"]);
    hub.shutdown().await;
}

#[tokio::test]
async fn a_subscriber_gets_the_gap_and_the_end() {
    let hub = hub().await;
    let stream = hub.subscribe(["a"], Start::After("no id".to_owned())).unwrap();
    // `EventStream` implements `Stream`, so combinators work on it.
    let reader = tokio::spawn(stream.collect::<Vec<_>>());
    tokio::task::yield_now().await;
    hub.shutdown().await;
    let deliveries = timeout(DEADLINE, reader).await.unwrap().unwrap();
    match deliveries.as_slice() {
        [Delivery::Gap(gap), Delivery::End(end)] => {
            assert_eq!(gap.reason, GapReason::Malformed);
            assert_eq!((end.reason, end.reconnect), (EndReason::Shutdown, true));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn names_outside_the_grammar_are_refused_with_their_code() {
    let hub = hub().await;
    let code = |name: &str| hub.subscribe([name], Start::Now).unwrap_err().code();
    assert_eq!(code("a..b"), Code::BadChannel);
    assert_eq!(code("$all"), Code::ReservedChannel);
    let none: [Subscription; 0] = [];
    assert!(hub.subscribe(none, Start::Now).is_err(), "a stream without channels is refused");
    hub.shutdown().await;
}

#[tokio::test]
async fn history_is_read_in_pages() {
    let hub = hub().await;
    for number in 0..3 {
        hub.publish(Publication::new(channel("a"), number.to_string()).and(channel("b"))).await.unwrap();
    }
    let mut request = HistoryRequest::new(channel("a")).limit(2);
    let mut texts = Vec::new();
    loop {
        let page = hub.history(request.clone()).await.unwrap();
        texts.push(page.events.iter().map(|event| event.data.clone()).collect::<Vec<_>>().join(" "));
        assert!(page.events.iter().all(|event| event.channels == ["a", "b"]), "{page:?}");
        let Some(next) = page.next else { break };
        request = request.after(next);
    }
    assert_eq!(texts, ["0 1", "2"]);
    let page = hub.history(HistoryRequest::new(channel("a")).last(1)).await.unwrap();
    assert_eq!(page.events[0].data, "2");
    let until = hub.history(HistoryRequest::new(channel("a")).limit(1)).await.unwrap().events[0].id.parse();
    let page = hub.history(HistoryRequest::new(channel("a")).until(until.unwrap())).await.unwrap();
    assert_eq!(page.events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), ["0"]);
    for limit in [0, HistoryRequest::LIMIT_MAX + 1] {
        let refused = hub.history(HistoryRequest::new(channel("a")).limit(limit)).await.unwrap_err();
        assert_eq!(refused.code(), Code::BadQuery);
    }
    hub.shutdown().await;
}

#[tokio::test]
async fn a_body_ends_with_the_hub() {
    let hub = hub().await;
    let body = hub.body(["a"], &StreamOptions::default()).unwrap();
    let reader = tokio::spawn(async move { body.collect().await.unwrap().to_bytes() });
    hub.shutdown().await;
    let all = timeout(DEADLINE, reader).await.unwrap().unwrap();
    let text = std::str::from_utf8(&all).unwrap();
    assert!(
        text.contains("event: tidings.end\ndata: {\"reason\":\"shutdown\",\"reconnect\":true}\nid: "),
        "{text}"
    );
    let refused = hub.publish(Publication::new(channel("a"), "late")).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotStored);
}

#[tokio::test]
async fn every_shutdown_waits_for_the_same_end() {
    let hub = hub().await;
    // A client that does not read: the hub waits for its stream until the window is over.
    let _stream = hub.subscribe(["a"], Start::Now).unwrap();
    let first = tokio::spawn({
        let hub = hub.clone();
        async move { hub.shutdown().await }
    });
    let mut ready = hub.readiness();
    while ready.is_ok() {
        tokio::task::yield_now().await;
        ready = hub.readiness();
    }
    timeout(DEADLINE, hub.shutdown()).await.unwrap();
    let closed = hub.closed().now_or_never().expect("the hub has ended when a second shutdown returns");
    assert_eq!(closed, Ok(()));
    timeout(DEADLINE, first).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_shutdown_whose_call_is_dropped_continues() {
    let hub = hub().await;
    let _stream = hub.subscribe(["a"], Start::Now).unwrap();
    assert!(hub.shutdown().now_or_never().is_none(), "a stream is open");
    assert!(hub.readiness().is_err());
    timeout(DEADLINE, hub.closed()).await.unwrap().unwrap();
}

/// Requests `path`, and reads until the server closes.
async fn response_of(address: std::net::SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("the service listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("the service reads");
    TextReader::new(socket).read_to_end().await
}

#[tokio::test]
async fn routes_live_beside_those_of_a_service() {
    let hub = hub().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let service = Router::new().route("/own", get(|| async { "mine" })).merge(hub.router());
    let service = service.nest("/live", hub.router());
    let served = tokio::spawn(tidings::serve_with(hub.clone(), service, vec![listener]));
    publish(&hub, "a", "kept").await;
    for (path, expected) in [
        ("/own", "mine"),
        ("/api/v1/channels", "{\"channels\":[]}"),
        ("/live/api/v1/channels/a/events", "\"data\":\"kept\""),
    ] {
        let answer = response_of(address, path).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains(expected), "{answer}");
    }
    hub.shutdown().await;
    timeout(DEADLINE, served).await.unwrap().unwrap().unwrap();
}

/// A handler with its own authorization, which returns a stream or the hub's error.
async fn own_stream(State(hub): State<Hub>) -> Result<EventBody, tidings::Error> {
    hub.body(["own"], &StreamOptions { start: Start::WholeHistory, ..StreamOptions::default() })
}

async fn own_refusal(State(hub): State<Hub>) -> Result<EventBody, tidings::Error> {
    hub.body(["a..b"], &StreamOptions::default())
}

#[tokio::test]
async fn a_service_on_axum_answers_with_streams_and_errors_and_shuts_down_gracefully() {
    let hub = hub().await;
    publish(&hub, "own", "kept").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = Router::new().route("/stream", get(own_stream)).route("/refusal", get(own_refusal));
    let service = routes.with_state(hub.clone()).merge(hub.router());
    let (stop, stopped) = oneshot::channel::<()>();
    let ending = hub.clone();
    let serving = axum::serve(listener, service).with_graceful_shutdown(async move {
        let _ = stopped.await;
        ending.shutdown().await;
    });
    let served = tokio::spawn(async move { serving.await });

    let refusal = response_of(address, "/refusal").await;
    assert!(refusal.starts_with("HTTP/1.1 400"), "{refusal}");
    assert!(refusal.contains("application/problem+json") && refusal.contains("bad_channel"), "{refusal}");

    let streams = ["/stream", "/api/v1/events/own?history=all"].map(|path| {
        let path = path.to_owned();
        tokio::spawn(async move { response_of(address, &path).await })
    });
    while hub.channels().iter().map(|(_, connections)| connections).sum::<usize>() < streams.len() {
        tokio::task::yield_now().await;
    }
    stop.send(()).unwrap();
    for stream in streams {
        let stream = timeout(DEADLINE, stream).await.unwrap().unwrap();
        assert!(stream.to_lowercase().contains("content-type: text/event-stream"), "{stream}");
        assert!(stream.contains("data: kept") && stream.contains("event: tidings.end"), "{stream}");
    }
    timeout(DEADLINE, served).await.unwrap().unwrap().unwrap();
    assert_eq!(hub.closed().now_or_never(), Some(Ok(())));
}
