//! Commands and payloads of the systems that Tidings replaces work unchanged.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::prelude::*;

const NOTIFICATION: &str =
    r#"{"type":"notification","object":{"message":"Hello World!","timestamp":"2024-01-01T00:00:00Z"}}"#;

/// Runs the documented `curl` command for a channel, with the port of this hub.
fn curl(hub: &TestHub, channel: &str) -> std::process::Child {
    let port = hub.authority().rsplit(':').next().unwrap();
    Command::new("curl")
        .args(["-N", "-s", "-H", "Accept: text/event-stream"])
        .arg(format!("http://localhost:{port}/api/v1/events/{channel}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn curl_prints_events_in_the_form_that_existing_parsers_expect() {
    let hub = TestHub::in_memory(&[]);
    for channel in ["project.123", "test"] {
        let mut curl = curl(&hub, channel);
        let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first: Vec<String> = lines.by_ref().take(2).collect();
        assert!(first[0].starts_with("retry: ") && first[1].starts_with(": "), "{first:?}");
        hub.publish(channel, NOTIFICATION);
        let event: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        curl.kill().unwrap();
        curl.wait().unwrap();
        assert_eq!(event[0], format!("data: {NOTIFICATION}"));
        assert!(event.len() == 2 && event[1].starts_with("id: "), "{event:?}");
    }
}

#[test]
fn test_mode_sends_one_message_and_ends() {
    let hub = TestHub::in_memory(&[("TEST_MODE", "true")]);
    for channel in ["test", "project.123"] {
        let response = hub.get(&format!("/api/v1/events/{channel}"));
        assert_eq!(
            response.assert_status(200).text(),
            "data: {\"type\":\"test\",\"message\":\"SSE endpoint working\"}\n\n"
        );
        assert_eq!(response.head.header("content-type"), Some("text/event-stream; charset=utf-8"));
    }
}

#[test]
fn existing_channel_names_are_valid() {
    let hub = TestHub::in_memory(&[]);
    for channel in ["project.123", "user.42", "task.a-b_c", "user:123:messages", "global", "test"] {
        let mut reader = hub.subscribe(&format!("/api/v1/events/{channel}"));
        hub.publish(channel, NOTIFICATION);
        let event = reader.event();
        assert_eq!((event.name.as_str(), event.data.as_str()), ("message", NOTIFICATION));
    }
}

#[test]
fn strict_envelope_accepts_exactly_its_two_members() {
    let hub = TestHub::in_memory(&[("TIDINGS_CHANNELS_ENVELOPE", "strict")]);
    for good in [NOTIFICATION, r#"{"object":"text","type":""}"#, r#" {"type":"t","object":{}} "#] {
        hub.publish("a", good);
    }
    for data in [
        "",
        "text",
        "null",
        "[]",
        "{}",
        r#"{"type":"t"}"#,
        r#"{"object":{}}"#,
        r#"{"type":"t","object":{},"more":1}"#,
        r#"{"type":"t","object":{},"object":{}}"#,
        r#"{"type":1,"object":{}}"#,
        r#"{"type":null,"object":{}}"#,
        r#"{"type":"t","object":null}"#,
        r#"{"type":"t","object":[]}"#,
        r#"{"type":"t","object":1}"#,
        r#"["t",{}]"#,
        r#"{"type":"t","object":{}} x"#,
    ] {
        hub.post("/api/v1/events/a", data).assert_problem(422, "envelope");
        let message = json!({"channels": ["a"], "data": data}).to_string();
        hub.post("/api/v1/publish", message).assert_problem(422, "envelope");
    }
    let as_json = json!({"channels": ["a"], "data": {"type": "t", "object": "o"}}).to_string();
    hub.post("/api/v1/publish", as_json).assert_status(200);
}

#[test]
fn strict_envelope_accepts_listed_types_only() {
    let variables =
        [("TIDINGS_CHANNELS_ENVELOPE", "strict"), ("TIDINGS_CHANNELS_TYPES", "notification,progress")];
    let hub = TestHub::in_memory(&variables);
    hub.publish("a", NOTIFICATION);
    hub.publish("a", r#"{"type":"progress","object":{"progress":1}}"#);
    let response = hub.post("/api/v1/events/a", r#"{"type":"status","object":{}}"#);
    response.assert_problem(422, "unknown_type");
    let batch = [
        json!({"channels": ["a"], "data": {"type": "progress", "object": "1"}}),
        json!({"channels": ["a"], "data": {"type": "other", "object": "1"}}),
    ];
    let response = hub.post("/api/v1/publish", json!(batch).to_string());
    assert_eq!(response.assert_problem(422, "unknown_type").json()["index"], 1);
}
