//! Publishing: requests, results, and retries.

use std::time::Duration;

use tidings_client::{Client, ErrorKind, Message, Priority};

use crate::stub_server::{closing, holding, response, serve};

const STORED: &str = r#"{"id":"x-1","offset":1}"#;

#[tokio::test(start_paused = true)]
async fn event_is_sent_verbatim_with_its_fields() {
    let server = serve([response("200 OK", STORED)]).await;
    let sent = server
        .client()
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
    let server = serve([response("200 OK", r#"{"id":null}"#)]).await;
    let got = server.client().publish("a").store(false).send().await.unwrap();
    assert_eq!((got.id, got.offset), (None, None));
    assert_eq!(server.requests()[0].line(), "POST /api/v1/events/a?store=false HTTP/1.1");
}

#[tokio::test]
async fn error_names_the_url_and_suggests_the_other_scheme() {
    const TLS_ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x16";
    let tls = serve([closing(TLS_ALERT)]).await;
    let fault = tls.client().publish("a").send().await.unwrap_err();
    let place = tls.url.trim_start_matches("http://");
    assert_eq!(fault.kind(), ErrorKind::Interrupted);
    assert!(fault.to_string().contains(&tls.url), "{fault}");
    assert!(fault.to_string().ends_with(&format!("write https://{place} if it speaks TLS")), "{fault}");

    let plain = response("400 No\r\nContent-Type: text/plain", "this port\tspeaks https\nand more");
    let refusing = serve([plain]).await;
    let fault = refusing.client().publish("a").send().await.unwrap_err();
    assert_eq!(fault.to_string(), format!("{} answered 400: this port\\tspeaks https", refusing.url));
}

#[tokio::test(start_paused = true)]
async fn publish_without_an_idempotency_key_is_sent_once() {
    for (reply, expected) in [
        (closing(""), ErrorKind::Interrupted),
        (response("503 Later", r#"{"code":"outcome_unknown"}"#), ErrorKind::Unavailable),
    ] {
        let server = serve([reply]).await;
        let fault = server.client().publish("a").data("x").send().await.unwrap_err();
        assert_eq!(fault.kind(), expected, "{fault}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn publish_with_an_idempotency_key_is_retried_until_it_is_answered() {
    let server = serve([
        closing(""),
        response("503 Later\r\nRetry-After: 1", r#"{"code":"outcome_unknown"}"#),
        closing(&response("200 OK", STORED).bytes[..40]),
        holding(""),
        response("200 OK", STORED),
    ])
    .await;
    let got = server.client().publish("a").data("x").idempotency_key("k").send().await.unwrap();
    assert_eq!(got.offset, Some(1));
    let requests = server.requests();
    assert_eq!(requests.len(), 5);
    assert!(
        requests.iter().all(|request| request.header("idempotency-key") == Some("k") && request.body == "x")
    );
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded() {
    let server = serve([closing("")]).await;
    let client = Client::builder(&server.url).attempts_max(3).build().unwrap();
    let fault = client.publish("a").idempotency_key("k").send().await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::Interrupted);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn refusal_is_final_and_carries_the_problem() {
    let problem = r#"{"type":"about:blank","title":"Too large","status":413,"code":"event_too_large",
        "detail":"event is 300000 bytes; limit is 262144","limit":"event_bytes"}"#;
    let server = serve([response("413 Payload Too Large", problem)]).await;
    let fault = server.client().publish("a").idempotency_key("k").send().await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::Refused);
    assert_eq!((fault.code(), fault.limit()), (Some("event_too_large"), Some("event_bytes")));
    assert_eq!(fault.detail(), Some("event is 300000 bytes; limit is 262144"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn batch_is_one_body_of_json_lines() {
    let server = serve([response("200 OK", r#"[{"id":"x-1","offset":1},{"id":null}]"#)]).await;
    let messages = vec![
        Message::new("a").also_to("b").event("n").data("1\n2").ttl(Duration::from_secs(1)),
        Message::new("c").priority(Priority::Low).store(false).key("k"),
    ];
    let got = server.client().publish_batch(messages).await.unwrap();
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
    let server = serve([response("400 Bad", r#"{"code":"bad_key","detail":"d","index":1}"#)]).await;
    let messages = vec![Message::new("a"), Message::new("b")];
    let fault = server.client().publish_batch(messages).await.unwrap_err();
    assert_eq!((fault.index(), fault.code()), (Some(1), Some("bad_key")));
    let local =
        server.client().publish_batch(vec![Message::new("a"), Message::new("b b")]).await.unwrap_err();
    assert_eq!((local.index(), local.kind()), (Some(1), ErrorKind::Input));
    assert!(server.client().publish_batch(Vec::new()).await.unwrap().is_empty());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn batch_with_fewer_results_than_messages_is_an_error() {
    let server = serve([response("200 OK", "[]")]).await;
    let fault = server.client().publish_batch(vec![Message::new("a")]).await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::Protocol);
}

#[tokio::test(start_paused = true)]
async fn response_of_another_server_is_a_protocol_error() {
    let server = serve([response("200 OK", "<h1>Welcome</h1>")]).await;
    let fault = server.client().publish("a").send().await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::Protocol, "{fault}");
}

#[tokio::test(start_paused = true)]
async fn bad_arguments_are_named_before_anything_is_sent() {
    let server = serve([closing("")]).await;
    let client = server.client();
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
    let server = serve([response("200 OK", &format!("[{STORED}]"))]).await;
    let message = Message::new("a").also_to("b").data("x");
    let got = server.client().publish_message(message).send().await.unwrap();
    assert_eq!(got.offset, Some(1));
    assert_eq!(server.requests()[0].body, "{\"channels\":[\"a\",\"b\"],\"data\":\"x\"}\n");
}
