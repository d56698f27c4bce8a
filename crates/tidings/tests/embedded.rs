//! In-process publishing and subscribing, and the routes in a service of one's own.

use std::{net::TcpListener, time::Duration};

use axum::{Router, routing::get};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tidings::{
    EventStream, Hub, Publication, Start, StreamOptions,
    protocol::{
        ChannelName, Subscription,
        sse::{Item, Parser},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("a channel name")
}

fn one(name: &str) -> Vec<Subscription> {
    vec![Subscription::parse(name).expect("a subscription")]
}

async fn hub() -> Hub {
    Hub::builder().memory().build().await.expect("a hub in memory opens")
}

/// Reads events until there are `count` of them; returns them with the last id.
async fn read(stream: &mut EventStream, count: usize) -> (Vec<String>, String) {
    let mut parser = Parser::new();
    let mut texts = Vec::new();
    while texts.len() < count {
        let frame = timeout(PATIENCE, stream.frame())
            .await
            .expect("events come")
            .expect("the stream goes on")
            .unwrap();
        let bytes = frame.into_data().expect("a stream has no trailers");
        parser
            .feed(&bytes, &mut |item| {
                if let Item::Event(event) = item {
                    texts.push(event.data);
                }
            })
            .expect("events are small");
    }
    (texts, parser.last_event_id().to_owned())
}

#[tokio::test]
async fn published_events_reach_a_subscriber_in_order() {
    let hub = hub().await;
    let mut stream = hub.subscribe(one("orders.*"), &StreamOptions::default()).unwrap();
    for number in 0..5 {
        hub.publish(Publication::new(channel("orders.1"), number.to_string())).await.unwrap();
    }
    let (texts, _) = read(&mut stream, 5).await;
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
    hub.shutdown().await;
}

#[tokio::test]
async fn a_subscriber_that_comes_back_gets_what_it_missed_once() {
    let hub = hub().await;
    let mut stream = hub.subscribe(one("a"), &StreamOptions::default()).unwrap();
    hub.publish(Publication::new(channel("a"), "seen")).await.unwrap();
    let (_, last) = read(&mut stream, 1).await;
    drop(stream);
    hub.publish(Publication::new(channel("a"), "missed").and(channel("b"))).await.unwrap();
    let options = StreamOptions { start: Start::After(last), ..StreamOptions::default() };
    let mut stream = hub.subscribe([one("a"), one("b")].concat(), &options).unwrap();
    hub.publish(Publication::new(channel("a"), "live")).await.unwrap();
    let (texts, _) = read(&mut stream, 2).await;
    assert_eq!(texts, ["missed", "live"]);
    hub.shutdown().await;
}

#[tokio::test]
async fn a_stream_ends_with_the_hub() {
    let hub = hub().await;
    let stream = hub.subscribe(one("a"), &StreamOptions::default()).unwrap();
    let reader = tokio::spawn(async move { stream.collect().await.unwrap().to_bytes() });
    hub.shutdown().await;
    let all = timeout(PATIENCE, reader).await.unwrap().unwrap();
    let text = std::str::from_utf8(&all).unwrap();
    assert!(
        text.contains("event: tidings.end\ndata: {\"reason\":\"shutdown\",\"reconnect\":true}\n\n"),
        "{text}"
    );
    let refused = hub.publish(Publication::new(channel("a"), "late")).await.unwrap_err();
    assert_eq!(refused.code(), tidings::Code::NotStored);
}

#[tokio::test]
async fn every_shutdown_waits_for_the_same_end() {
    let hub = hub().await;
    // A stream that nobody reads: the hub waits for it until the window is over.
    let _stream = hub.subscribe(one("a"), &StreamOptions::default()).unwrap();
    let first = tokio::spawn({
        let hub = hub.clone();
        async move { hub.shutdown().await }
    });
    let mut ready = hub.readiness();
    while ready.is_ok() {
        tokio::task::yield_now().await;
        ready = hub.readiness();
    }
    timeout(PATIENCE, hub.shutdown()).await.unwrap();
    let closed = hub.closed().now_or_never().expect("the hub has ended when a second shutdown returns");
    assert_eq!(closed, Ok(()));
    timeout(PATIENCE, first).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_shutdown_whose_call_is_dropped_goes_on() {
    let hub = hub().await;
    let _stream = hub.subscribe(one("a"), &StreamOptions::default()).unwrap();
    assert!(hub.shutdown().now_or_never().is_none(), "a stream is open");
    assert!(hub.readiness().is_err());
    timeout(PATIENCE, hub.closed()).await.unwrap().unwrap();
}

#[tokio::test]
async fn routes_live_beside_those_of_a_service() {
    let hub = hub().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let service = Router::new().route("/own", get(|| async { "mine" })).merge(hub.router());
    let served = tokio::spawn(tidings::serve_with(hub.clone(), service, vec![listener]));
    for (path, expected) in [("/own", "mine"), ("/api/v1/channels", "{\"channels\":[]}")] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains(expected), "{answer}");
    }
    hub.shutdown().await;
    timeout(PATIENCE, served).await.unwrap().unwrap().unwrap();
}
