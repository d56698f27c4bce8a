//! Subscriptions: resume, waits, ends and refusals.

use std::time::Duration;

use futures_util::StreamExt;
use tidings_client::{Client, EndReason, Error, ErrorKind, GapReason, Notification, Subscriber};
use tidings_testkit::StubReply;
use tokio::time::Instant;

use crate::stub_server::{
    AsyncStubServer, STREAM, closing, ended_stream, holding, open_stream, response, serve, stream,
};

/// A server that sends these replies, and a subscription of the channel `a` there.
async fn subscribe_to(replies: impl Into<Vec<StubReply>>) -> (AsyncStubServer, Subscriber) {
    let server = serve(replies).await;
    let subscription = server.client().subscribe(["a"]).start();
    (server, subscription)
}

/// The next notification except reconnects and positions.
async fn next_notification(subscription: &mut Subscriber) -> Option<Result<Notification, Error>> {
    loop {
        match subscription.next().await {
            Some(Ok(Notification::Reconnecting(_) | Notification::Position(_))) => {}
            other => return other,
        }
    }
}

/// The data of the next event; anything else fails the test.
async fn next_data(subscription: &mut Subscriber) -> String {
    match next_notification(subscription).await {
        Some(Ok(Notification::Event(event))) => event.data,
        other => panic!("not an event: {other:?}"),
    }
}

async fn next_fault(subscription: &mut Subscriber) -> Error {
    let fault = match next_notification(subscription).await {
        Some(Err(fault)) => fault,
        other => panic!("not an error: {other:?}"),
    };
    assert!(subscription.next().await.is_none(), "an error ends the subscription");
    fault
}

/// Events 1 to 3 after the id, with a position in front of them and between them.
fn events_after(id: &str) -> String {
    let after: u32 = id.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    let mut body = format!("retry: 1000\n: hello\nid: {id}\n\n");
    for number in after + 1..=3 {
        body.push_str(&format!("event: n\ndata: {number}\ndata: é\nid: e{number}\n\nid: p{number}\n\n"));
    }
    body
}

#[tokio::test(start_paused = true)]
async fn client_resumes_exactly_after_a_disconnect_at_every_byte() {
    let whole_bytes = stream(&events_after("p0")).len();
    for cut in 0..=whole_bytes {
        let server = AsyncStubServer::start(move |number, request| {
            let id = request.header("last-event-id").unwrap_or("p0").to_owned();
            let mut bytes = stream(&events_after(&id)).into_bytes();
            if number == 0 {
                bytes.truncate(cut);
                return closing(bytes);
            }
            holding(bytes)
        })
        .await;
        let mut subscription = server.client().subscribe(["a"]).start();
        for number in 1..=3 {
            assert_eq!(next_data(&mut subscription).await, format!("{number}\né"), "cut at {cut}");
        }
        assert_eq!(subscription.last_event_id(), "e3");
    }
}

#[tokio::test(start_paused = true)]
async fn subscription_is_a_stream_that_resumes() {
    let server = serve([ended_stream("id: e1\ndata: one\n\n"), open_stream("id: e2\ndata: two\n\n")]).await;
    let subscription = server.client().subscribe(["a"]).start();
    let events = subscription.filter_map(|delivery| async {
        match delivery {
            Ok(Notification::Event(event)) => Some(event.data),
            _ => None,
        }
    });
    assert_eq!(events.take(2).collect::<Vec<_>>().await, ["one", "two"]);
    assert_eq!(server.requests()[1].header("last-event-id"), Some("e1"));
}

#[tokio::test]
async fn error_is_one_line_with_its_causes_as_sources() {
    let server = serve([response("502 Bad Gateway", "{\"detail\":\"one\\ntwo\"}")]).await;
    let refused = server.client().publish("a").send().await.unwrap_err();
    assert_eq!(format!("{refused}"), format!("{} answered 502: one\\ntwo", server.url));
    assert_eq!(format!("{refused:?}"), format!("{refused}"));
    assert!(format!("{refused:#?}").contains("status: Some("));
    // No server listens on port 1 of loopback.
    let client = Client::builder("http://127.0.0.1:1").build().unwrap();
    let unreached = client.publish("a").send().await.unwrap_err();
    assert_eq!(unreached.kind(), ErrorKind::Connect, "{unreached}");
    assert!(!format!("{unreached:?}").contains('\n'), "{unreached:?}");
    assert!(std::error::Error::source(&unreached).is_some());
}

#[tokio::test(start_paused = true)]
async fn id_of_a_block_without_data_survives_every_reconnect() {
    let (server, mut subscription) = subscribe_to([
        ended_stream("id: p7\n\n"),
        ended_stream("data: transient\n\n"),
        ended_stream("id: half"),
        closing(""),
        open_stream("data: last\nid: e8\n\n"),
    ])
    .await;
    assert_eq!(next_data(&mut subscription).await, "transient");
    assert_eq!(subscription.last_event_id(), "p7");
    assert_eq!(next_data(&mut subscription).await, "last");
    let ids: Vec<_> =
        server.requests().iter().map(|request| request.header("last-event-id").map(str::to_owned)).collect();
    let p7 = Some("p7".to_owned());
    assert_eq!(ids, [None, p7.clone(), p7.clone(), p7.clone(), p7]);
}

#[tokio::test(start_paused = true)]
async fn request_names_channels_history_and_token() {
    let server = serve([response("204 No Content", "")]).await;
    let client = Client::builder(format!("{}/prefix/", server.url)).token("tk_secret").build().unwrap();
    assert!(client.subscribe(["a.b", "c.**"]).history(5).start().next().await.is_none());
    assert!(client.subscribe(["a:*"]).history_all().start().next().await.is_none());
    assert!(client.subscribe(["a"]).history(5).last_event_id("x-1").start().next().await.is_none());
    let requests = server.requests();
    let lines: Vec<_> = requests.iter().map(|request| request.line()).collect();
    assert_eq!(
        lines,
        [
            "GET /prefix/api/v1/events?channel=a.b&channel=c.**&position=id&history=5 HTTP/1.1",
            "GET /prefix/api/v1/events/a:*?position=id&history=all HTTP/1.1",
            "GET /prefix/api/v1/events/a?position=id HTTP/1.1",
        ]
    );
    assert_eq!(requests[0].header("authorization"), Some("Bearer tk_secret"));
    assert_eq!(requests[0].header("accept"), Some("text/event-stream"));
    assert_eq!(requests[2].header("last-event-id"), Some("x-1"));
}

#[tokio::test(start_paused = true)]
async fn retry_of_the_hub_is_clamped_to_twenty_seconds() {
    let (_server, mut subscription) = subscribe_to([ended_stream("retry: 86400000\n\n")]).await;
    for _ in 0..20 {
        let began = Instant::now();
        let Some(Ok(Notification::Reconnecting(notice))) = subscription.next().await else {
            panic!("every stream was closed")
        };
        assert!(notice.after <= Duration::from_secs(20), "waits {:?}", notice.after);
        assert!(began.elapsed() <= Duration::from_secs(21), "waited {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn no_content_finishes_the_subscription() {
    let (server, mut subscription) =
        subscribe_to([ended_stream("data: only\nid: e1\n\n"), response("204 No Content", "")]).await;
    assert_eq!(next_data(&mut subscription).await, "only");
    assert!(next_notification(&mut subscription).await.is_none());
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn refusal_ends_the_subscription_with_its_reason() {
    for status in ["400", "401", "403", "404", "410"] {
        let head = format!("{status} No\r\nContent-Type: application/problem+json");
        let server =
            serve([response(&head, r#"{"status":0,"code":"some_code","detail":"Access denied"}"#)]).await;
        let fault = next_fault(&mut server.client().subscribe(["a"]).start()).await;
        assert_eq!(fault.kind(), ErrorKind::Refused);
        assert_eq!(fault.status(), Some(status.parse().unwrap()));
        assert_eq!((fault.code(), fault.detail()), (Some("some_code"), Some("Access denied")));
        assert_eq!(fault.to_string(), format!("{} answered {status} some_code: Access denied", server.url));
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn redirect_is_named_and_not_followed() {
    let server = serve([response("308 Moved\r\nLocation: https://b.example/", "")]).await;
    let fault = next_fault(&mut server.client().subscribe(["a"]).start()).await;
    assert!(fault.to_string().contains("https://b.example/"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn full_hub_is_retried_after_its_retry_after() {
    for status in ["429", "503"] {
        let head = format!("{status} Later\r\nRetry-After: 7");
        let server = serve([response(&head, "{}"), open_stream("data: here\n\n")]).await;
        let began = Instant::now();
        let mut subscription = server.client().subscribe(["a"]).start();
        assert_eq!(next_data(&mut subscription).await, "here");
        let waited = began.elapsed();
        assert!((7.0..=7.6).contains(&waited.as_secs_f64()), "{status}: waited {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn gap_is_delivered_and_its_id_is_kept() {
    let gap = r#"{"channels":["a"],"reason":"trimmed","requested":"x-1","resumedAt":"x-9"}"#;
    let body = format!("event: tidings.gap\ndata: {gap}\nid: x-9\n\n");
    let server = serve([ended_stream(&body), response("204 No Content", "")]).await;
    let mut subscription = server.client().subscribe(["a"]).last_event_id("x-1").start();
    let Some(Ok(Notification::Gap(notice))) = next_notification(&mut subscription).await else {
        panic!("no gap")
    };
    assert_eq!(notice.reason, GapReason::Trimmed);
    assert_eq!((notice.channels.as_slice(), notice.resumed_at.as_str()), (&["a".to_owned()][..], "x-9"));
    assert!(next_notification(&mut subscription).await.is_none());
    assert_eq!(server.requests()[1].header("last-event-id"), Some("x-9"));
}

#[tokio::test(start_paused = true)]
async fn malformed_gap_is_an_error_and_keeps_the_last_id() {
    let body = "id: x-1\n\nevent: tidings.gap\ndata: {\"reason\":\"new\"}\nid: x-9\n\n";
    let (_server, mut subscription) = subscribe_to([open_stream(body)]).await;
    assert_eq!(next_fault(&mut subscription).await.kind(), ErrorKind::Protocol);
    assert_eq!(subscription.last_event_id(), "x-1");
}

#[tokio::test(start_paused = true)]
async fn end_without_reconnect_stops() {
    let end = "event: tidings.end\ndata: {\"reason\":\"revoked\",\"reconnect\":false}\n\ndata: after\n\n";
    let (server, mut subscription) = subscribe_to([ended_stream(end)]).await;
    let Some(Ok(Notification::End(notice))) = subscription.next().await else { panic!("no end") };
    assert_eq!((notice.reason, notice.reconnect), (EndReason::Revoked, false));
    assert!(subscription.next().await.is_none());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn end_with_reconnect_resumes_from_the_last_id() {
    let end =
        "id: x-4\n\nretry: 900\nevent: tidings.end\ndata: {\"reason\":\"shutdown\",\"reconnect\":true}\n\n";
    let (server, mut subscription) = subscribe_to([open_stream(end), open_stream("data: again\n\n")]).await;
    assert!(matches!(subscription.next().await, Some(Ok(Notification::Position(_)))));
    assert!(matches!(subscription.next().await, Some(Ok(Notification::End(_)))));
    assert_eq!(next_data(&mut subscription).await, "again");
    assert_eq!(server.requests()[1].header("last-event-id"), Some("x-4"));
}

#[tokio::test(start_paused = true)]
async fn position_for_browsers_is_a_position_and_other_reserved_events_are_not_shown() {
    let body = "event: tidings.position\ndata:\nid: x-1\n\nevent: tidings.novel\ndata: 1\n\ndata: 2\n\n";
    let (_server, mut subscription) = subscribe_to([open_stream(body)]).await;
    let Some(Ok(Notification::Position(id))) = subscription.next().await else { panic!("no position") };
    assert_eq!(id, "x-1");
    let Some(Ok(Notification::Event(event))) = subscription.next().await else { panic!("no event") };
    assert_eq!(
        (event.name.as_str(), event.data.as_str(), event.id.as_deref()),
        ("message", "2", Some("x-1"))
    );
}

#[tokio::test(start_paused = true)]
async fn stream_in_single_bytes_with_crlf_and_split_utf8_is_read() {
    let body = "\u{feff}: hi\r\n\r\nevent: snow\r\ndata: ❄ é\r\ndata: two\r\nid: e1\r\n\r\ndata: cr\r\r";
    let mut bytes =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for byte in body.as_bytes() {
        bytes.extend_from_slice(b"1\r\n");
        bytes.push(*byte);
        bytes.extend_from_slice(b"\r\n");
    }
    let (_server, mut subscription) = subscribe_to([holding(bytes)]).await;
    let Some(Ok(Notification::Event(event))) = subscription.next().await else { panic!("no event") };
    assert_eq!((event.name.as_str(), event.data.as_str()), ("snow", "❄ é\ntwo"));
    assert_eq!(next_data(&mut subscription).await, "cr");
}

#[tokio::test(start_paused = true)]
async fn page_in_place_of_a_stream_is_an_error_with_a_hint() {
    let server = serve([response("200 OK\r\nContent-Type: text/html", "<h1>Log in</h1>")]).await;
    let fault = next_fault(&mut server.client().subscribe(["a"]).start()).await;
    assert_eq!(fault.kind(), ErrorKind::Protocol);
    assert!(fault.to_string().contains("text/html") && fault.to_string().contains("proxy"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn silent_stream_is_closed_after_three_keep_alive_intervals() {
    let (_server, mut subscription) =
        subscribe_to([open_stream("id: x-1\n\n"), holding(""), open_stream("data: alive\n\n")]).await;
    assert!(matches!(subscription.next().await, Some(Ok(Notification::Position(_)))));
    for fault in ["silent for 45s", "within 45s"] {
        let began = Instant::now();
        let Some(Ok(Notification::Reconnecting(notice))) = subscription.next().await else {
            panic!("no reconnect")
        };
        assert!(notice.reason.contains(fault), "{}", notice.reason);
        assert!(began.elapsed() >= Duration::from_secs(45), "left after {:?}", began.elapsed());
    }
    assert_eq!(next_data(&mut subscription).await, "alive");
}

#[tokio::test(start_paused = true)]
async fn event_beyond_the_bound_is_an_error_after_the_events_before_it() {
    let body = format!("data: small\nid: e1\n\ndata: {}\nid: e2\n\n", "x".repeat(200));
    let server = serve([open_stream(&body)]).await;
    let client = Client::builder(&server.url).event_bytes_max(100).build().unwrap();
    let mut subscription = client.subscribe(["a"]).start();
    assert_eq!(next_data(&mut subscription).await, "small");
    let fault = next_fault(&mut subscription).await;
    assert_eq!(fault.kind(), ErrorKind::TooLarge);
    assert!(fault.to_string().contains("100 bytes"), "{fault}");
    assert_eq!(subscription.last_event_id(), "e1");
}

#[tokio::test(start_paused = true)]
async fn next_may_be_dropped_at_any_time() {
    let server = AsyncStubServer::start(|number, request| {
        let id = request.header("last-event-id").unwrap_or("p0").to_owned();
        let mut bytes = stream(&events_after(&id)).into_bytes();
        bytes.truncate(STREAM.len() + 90 * number);
        if number < 3 { closing(bytes) } else { open_stream(&events_after(&id)) }
    })
    .await;
    let mut subscription = server.client().subscribe(["a"]).start();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match tokio::time::timeout(Duration::from_millis(1), subscription.next()).await {
            Ok(Some(Ok(Notification::Event(event)))) => seen.push(event.data),
            Ok(None | Some(Err(_))) => panic!("the subscription has ended"),
            _ => {}
        }
    }
    assert_eq!(seen, ["1\né", "2\né", "3\né"]);
}

#[tokio::test(start_paused = true)]
async fn argument_that_cannot_be_sent_is_an_error_before_any_connection() {
    let server = serve([closing("")]).await;
    let client = server.client();
    for bad in ["", "a b", "$all", "a..b", "a/../b"] {
        assert_eq!(next_fault(&mut client.subscribe([bad]).start()).await.kind(), ErrorKind::Input, "{bad}");
    }
    assert_eq!(
        next_fault(&mut client.subscribe(Vec::<String>::new()).start()).await.kind(),
        ErrorKind::Input
    );
    let mut smuggled = client.subscribe(["a"]).last_event_id("x\r\nEvil: 1").start();
    assert_eq!(next_fault(&mut smuggled).await.kind(), ErrorKind::Input);
    assert!(server.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn channels_that_fit_no_url_are_sent_in_a_body() {
    let server =
        serve([ended_stream("retry: 1000\n\ndata: one\nid: e1\n\n"), open_stream("data: two\nid: e2\n\n")])
            .await;
    let names: Vec<String> = (0..256).map(|n| format!("project.{n}.{}", "x".repeat(36))).collect();
    let mut subscription = server.client().subscribe(&names).history(5).start();
    assert_eq!(next_data(&mut subscription).await, "one");
    assert_eq!(next_data(&mut subscription).await, "two");
    let requests = server.requests();
    let bodies: Vec<serde_json::Value> =
        requests.iter().map(|request| serde_json::from_str(&request.body).unwrap()).collect();
    assert_eq!(bodies[0], serde_json::json!({"channels": names, "history": 5, "position": "id"}));
    assert_eq!(bodies[1], serde_json::json!({"channels": names, "position": "id"}));
    for request in &requests {
        assert_eq!(request.line(), "POST /api/v1/stream HTTP/1.1");
        assert_eq!(request.header("content-type"), Some("application/json"));
    }
    assert_eq!(requests[1].header("last-event-id"), Some("e1"));
}

#[tokio::test(start_paused = true)]
async fn channels_that_fit_a_url_stay_in_it() {
    let server = serve([open_stream("data: one\nid: e1\n\n")]).await;
    let names: Vec<String> = (0..30).map(|n| format!("project.{n:036}")).collect();
    let mut subscription = server.client().subscribe(&names).history_all().start();
    assert_eq!(next_data(&mut subscription).await, "one");
    let requests = server.requests();
    let line = requests[0].line();
    assert!(line.starts_with("GET /api/v1/events?channel=project.") && line.len() < 2048, "{line}");
    assert_eq!(requests[0].body, "");
}
