//! Requests to the hook, and the meaning of each answer.

use std::time::Duration;

use super::*;
use crate::auth::hook::{Action, Subject};
use crate::outbound_http::BODY_BYTES_MAX;
use crate::outbound_http::tests::backend::{Reply, StubBackend, answer, ok};

fn request() -> AccessRequest {
    let principal = Some(Subject::User("u".into()));
    AccessRequest { principal, action: Action::Subscribe, channel: "a.b".to_owned(), is_pattern: false }
}

fn hook(backend: &StubBackend) -> HttpHook {
    let settings = AuthSettings { hook_timeout: Duration::from_secs(20), ..AuthSettings::default() };
    HttpHook::new(&backend.url(), &settings).unwrap()
}

/// The verdict; `None` without an answer.
async fn verdict(reply: Vec<u8>) -> Option<bool> {
    let backend = StubBackend::always(Reply::Last(reply)).await;
    hook(&backend).allow(&request()).await.ok()
}

#[tokio::test]
async fn only_200_with_allow_true_is_yes() {
    for (status, body, expected) in [
        ("200 OK", r#"{"allow":true}"#, Some(true)),
        ("200 OK", "\r\n { \"allow\" : true , \"why\" : [1] } \n", Some(true)),
        ("200 OK", r#"{"allow":false}"#, Some(false)),
        ("200 OK", r#"{"allow":"true"}"#, Some(false)),
        ("200 OK", r#"{"allow":1}"#, Some(false)),
        ("200 OK", r#"{"allow":null}"#, Some(false)),
        ("200 OK", r#"{"Allow":true}"#, Some(false)),
        ("200 OK", r#"{"allow":true,"allow":false}"#, Some(false)),
        ("200 OK", r#"{"allow":false,"allow":true}"#, Some(false)),
        ("200 OK", r#"{"allow":true}{"allow":true}"#, Some(false)),
        ("200 OK", r#"[{"allow":true}]"#, Some(false)),
        // Serde would read a list as a struct, too.
        ("200 OK", "[true]", Some(false)),
        ("200 OK", r#"{"allow":true"#, Some(false)),
        ("200 OK", "true", Some(false)),
        ("200 OK", "", Some(false)),
        ("201 Created", r#"{"allow":true}"#, Some(false)),
        ("202 Accepted", r#"{"allow":true}"#, Some(false)),
        ("204 No Content", "", Some(false)),
        ("206 Partial Content", r#"{"allow":true}"#, Some(false)),
        ("300 Multiple Choices", r#"{"allow":true}"#, Some(false)),
        ("304 Not Modified", "", Some(false)),
        ("400 Bad Request", r#"{"allow":true}"#, Some(false)),
        ("401 Unauthorized", "", Some(false)),
        ("403 Forbidden", "", Some(false)),
        ("404 Not Found", "", Some(false)),
        ("429 Too Many Requests", "", Some(false)),
        ("500 Internal Server Error", r#"{"allow":true}"#, None),
        ("502 Bad Gateway", "", None),
        ("503 Service Unavailable", r#"{"allow":false}"#, None),
        ("599 Odd", "", None),
    ] {
        assert_eq!(verdict(answer(status, "", body)).await, expected, "{status} {body}");
    }
}

#[tokio::test]
async fn answer_that_cannot_be_read_is_no_answer() {
    let padded = format!(r#"{{"allow":true,"why":"{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    assert_eq!(verdict(answer("200 OK", "", padded)).await, None, "too long");
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"allow\":true}".to_vec();
    assert_eq!(verdict(cut).await, None, "broken off");
    assert_eq!(verdict(b"SSH-2.0-OpenSSH\r\n".to_vec()).await, None, "no HTTP");
    assert_eq!(verdict(Vec::new()).await, None, "closed");
}

#[tokio::test]
async fn redirect_is_no_and_its_target_is_never_contacted() {
    let yes = StubBackend::always(ok(r#"{"allow":true}"#)).await;
    for status in
        ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let location = format!("Location: {}\r\n", yes.url());
        assert_eq!(verdict(answer(status, &location, "")).await, Some(false), "{status}");
    }
    assert_eq!(yes.connections(), 0);
}

#[tokio::test]
async fn backend_that_is_not_there_gives_no_answer() {
    let backend = StubBackend::always(Reply::Silence).await;
    let hook = hook(&backend);
    drop(backend);
    assert!(hook.allow(&request()).await.unwrap_err().to_string().starts_with("no connection"));
}

#[tokio::test]
async fn request_is_one_json_document() {
    let backend = StubBackend::always(ok(r#"{"allow":true}"#)).await;
    let hook = hook(&backend);
    let session = AccessRequest { principal: Some(Subject::Session("s\"1".into())), ..request() };
    let anonymous = AccessRequest { principal: None, action: Action::Publish, ..request() };
    let pattern = AccessRequest { channel: "a.**".to_owned(), is_pattern: true, ..request() };
    for (request, expected) in [
        (request(), r#"{"principal":{"user":"u"},"action":"subscribe","channel":"a.b"}"#),
        (session, r#"{"principal":{"session":"s\"1"},"action":"subscribe","channel":"a.b"}"#),
        (anonymous, r#"{"principal":null,"action":"publish","channel":"a.b"}"#),
        (pattern, r#"{"principal":{"user":"u"},"action":"subscribe","channel":"a.**","pattern":true}"#),
    ] {
        assert!(hook.allow(&request).await.unwrap());
        let sent = backend.requests().pop().unwrap();
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, expected);
        assert!(head.starts_with("POST /path HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
    }
}
