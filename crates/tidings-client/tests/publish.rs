//! Publishing: requests, results, and retries.

use std::time::Duration;

use tidings_client::{Client, ErrorKind, Message, Priority};

use crate::stub_server::{AsyncStubServer, closing, holding, response};

const STORED: &str = r#"{"id":"x-1","offset":1}"#;

fn client(server: &AsyncStubServer) -> Client {
    Client::builder(&server.url).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn event_is_sent_verbatim_with_its_fields() {
    let server = AsyncStubServer::start(|_, _| closing(response("200 OK", STORED))).await;
    let sent = client(&server)
        .publish("project.42")
        .event("file é&=")
        .data("two\nlines é")
        .priority(Priority::High)
        .key("k 1")
        .ttl(Duration::from_millis(1500))
        .idempotency_key("order-1");
    let got = sent.send().await.unwrap();
    assert_eq!((got.id.as_deref(), got.offset), (Some("x-1"), Some(1)));
    let request = &server.requests()[0];
    assert_eq!(
        request.line(),
        "POST /api/v1/events/project.42?event=file+%C3%A9%26%3D&priority=high&key=k+1&ttl=1500 HTTP/1.1"
    );
    assert_eq!(request.header("idempotency-key"), Some("order-1"));
    assert_eq!(request.body, "two\nlines é");
}

#[tokio::test(start_paused = true)]
async fn transient_event_has_no_id() {
    let server = AsyncStubServer::start(|_, _| closing(response("200 OK", r#"{"id":null}"#))).await;
    let got = client(&server).publish("a").store(false).send().await.unwrap();
    assert_eq!((got.id, got.offset), (None, None));
    assert_eq!(server.requests()[0].line(), "POST /api/v1/events/a?store=false HTTP/1.1");
}

#[tokio::test]
async fn error_names_the_url_and_suggests_the_other_scheme() {
    const TLS_ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x16";
    let tls = AsyncStubServer::start(|_, _| closing(TLS_ALERT)).await;
    let fault = client(&tls).publish("a").send().await.unwrap_err();
    let place = tls.url.trim_start_matches("http://");
    assert_eq!(fault.kind(), ErrorKind::Interrupted);
    assert!(fault.to_string().contains(&tls.url), "{fault}");
    assert!(fault.to_string().ends_with(&format!("write https://{place} if it speaks TLS")), "{fault}");

    let refusing = AsyncStubServer::start(|_, _| {
        closing(response("400 No\r\nContent-Type: text/plain", "this port\tspeaks https\nand more"))
    });
    let refusing = refusing.await;
    let fault = client(&refusing).publish("a").send().await.unwrap_err();
    assert_eq!(fault.to_string(), format!("{} answered 400: this port\\tspeaks https", refusing.url));
}

#[tokio::test(start_paused = true)]
async fn publish_without_an_idempotency_key_is_sent_once() {
    for reply in [Vec::new(), response("503 Later", r#"{"code":"outcome_unknown"}"#)] {
        let empty = reply.is_empty();
        let server = AsyncStubServer::start(move |_, _| closing(reply.clone())).await;
        let fault = client(&server).publish("a").data("x").send().await.unwrap_err();
        let expected = if empty { ErrorKind::Interrupted } else { ErrorKind::Unavailable };
        assert_eq!(fault.kind(), expected, "{fault}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn publish_with_an_idempotency_key_is_retried_until_it_is_answered() {
    let server = AsyncStubServer::start(|number, _| match number {
        0 => closing(""),
        1 => closing(response("503 Later\r\nRetry-After: 1", r#"{"code":"outcome_unknown"}"#)),
        2 => closing(response("200 OK", STORED)[..40].to_vec()),
        3 => holding(""),
        _ => closing(response("200 OK", STORED)),
    })
    .await;
    let got = client(&server).publish("a").data("x").idempotency_key("k").send().await.unwrap();
    assert_eq!(got.offset, Some(1));
    let requests = server.requests();
    assert_eq!(requests.len(), 5);
    assert!(
        requests.iter().all(|request| request.header("idempotency-key") == Some("k") && request.body == "x")
    );
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded() {
    let server = AsyncStubServer::start(|_, _| closing("")).await;
    let client = Client::builder(&server.url).attempts_max(3).build().unwrap();
    let fault = client.publish("a").idempotency_key("k").send().await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::Interrupted);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn refusal_is_final_and_carries_the_problem() {
    let problem = r#"{"type":"about:blank","title":"Too large","status":413,"code":"event_too_large",
        "detail":"event is 300000 bytes; limit is 262144","limit":"event_bytes"}"#;
    let server =
        AsyncStubServer::start(move |_, _| closing(response("413 Payload Too Large", problem))).await;
    let fault = client(&server).publish("a").idempotency_key("k").send().await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::Refused);
    assert_eq!((fault.code(), fault.limit()), (Some("event_too_large"), Some("event_bytes")));
    assert_eq!(fault.detail(), Some("event is 300000 bytes; limit is 262144"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn batch_is_one_body_of_json_lines() {
    let server = AsyncStubServer::start(|_, _| {
        closing(response("200 OK", r#"[{"id":"x-1","offset":1},{"id":null}]"#))
    })
    .await;
    let messages = vec![
        Message::new("a").also_to("b").event("n").data("1\n2").ttl(Duration::from_secs(1)),
        Message::new("c").priority(Priority::Low).store(false).key("k"),
    ];
    let got = client(&server).publish_batch(messages).await.unwrap();
    assert_eq!(got.iter().map(|answer| answer.offset).collect::<Vec<_>>(), [Some(1), None]);
    let request = &server.requests()[0];
    assert_eq!(request.line(), "POST /api/v1/publish HTTP/1.1");
    assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<serde_json::Value> =
        request.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines,
        [
            serde_json::json!({"channels":["a","b"],"event":"n","data":"1\n2","ttl":1000}),
            serde_json::json!({"channels":["c"],"data":"","priority":"low","store":false,"key":"k"}),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn error_of_a_batch_has_the_index_of_the_message() {
    let server = AsyncStubServer::start(|_, _| {
        closing(response("400 Bad", r#"{"code":"bad_key","detail":"d","index":1}"#))
    })
    .await;
    let messages = vec![Message::new("a"), Message::new("b")];
    let fault = client(&server).publish_batch(messages).await.unwrap_err();
    assert_eq!((fault.index(), fault.code()), (Some(1), Some("bad_key")));
    let local =
        client(&server).publish_batch(vec![Message::new("a"), Message::new("b b")]).await.unwrap_err();
    assert_eq!((local.index(), local.kind()), (Some(1), ErrorKind::Input));
    assert!(client(&server).publish_batch(Vec::new()).await.unwrap().is_empty());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn batch_with_fewer_results_than_messages_is_an_error() {
    let server = AsyncStubServer::start(|_, _| closing(response("200 OK", "[]"))).await;
    let fault = client(&server).publish_batch(vec![Message::new("a")]).await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn unreachable_hub_is_a_connect_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let fault = Client::builder(url).build().unwrap().publish("a").send().await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::Connect, "{fault}");
    assert!(std::error::Error::source(&fault).is_some());
}

#[tokio::test(start_paused = true)]
async fn response_of_another_server_is_a_protocol_error() {
    let server = AsyncStubServer::start(|_, _| closing(response("200 OK", "<h1>Welcome</h1>"))).await;
    let fault = client(&server).publish("a").send().await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::Protocol, "{fault}");
}

#[tokio::test(start_paused = true)]
async fn bad_arguments_are_named_before_anything_is_sent() {
    let server = AsyncStubServer::start(|_, _| closing("")).await;
    let client = client(&server);
    let publishes = [
        client.publish("a.*"),
        client.publish("$all"),
        client.publish("a").event("a\nb"),
        client.publish("a").event("tidings.gap"),
        client.publish("a").idempotency_key("é"),
    ];
    for publish in publishes {
        assert_eq!(publish.send().await.unwrap_err().kind(), ErrorKind::Input);
    }
    assert!(server.requests().is_empty());
}

#[test]
fn bad_urls_and_tokens_are_refused_and_secrets_masked() {
    for url in
        ["", "localhost:8000", "ftp://a", "http://", "http://u:secret@h", "http://h/?a=1", "http://h/#f"]
    {
        let fault = Client::builder(url).build().unwrap_err();
        assert_eq!(fault.kind(), ErrorKind::Input, "{url}");
        assert!(!fault.to_string().contains("secret"), "{fault}");
    }
    let builder = Client::builder("http://h").token("tk_secret");
    assert!(!format!("{builder:?}").contains("tk_secret"));
    assert!(!format!("{:?}", builder.build().unwrap()).contains("tk_secret"));
    for token in ["", "a b", "a\nb"] {
        assert_eq!(Client::builder("http://h").token(token).build().unwrap_err().kind(), ErrorKind::Input);
    }
}

#[tokio::test(start_paused = true)]
async fn message_for_several_channels_is_one_event() {
    let server = AsyncStubServer::start(|_, _| closing(response("200 OK", &format!("[{STORED}]")))).await;
    let message = Message::new("a").also_to("b").data("x");
    let got = client(&server).publish_message(message).send().await.unwrap();
    assert_eq!(got.offset, Some(1));
    assert_eq!(server.requests()[0].body, "{\"channels\":[\"a\",\"b\"],\"data\":\"x\"}\n");
}
