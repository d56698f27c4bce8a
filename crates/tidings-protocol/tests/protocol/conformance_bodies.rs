//! `publish-bodies.json`.

use serde::Deserialize;
use tidings_protocol::Code;
use tidings_protocol::body::{PublishBody, PublishMessage, parse_publish};

use crate::cases::{load, unhex};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BodyCase {
    name: String,
    content_type: Option<String>,
    body: Option<String>,
    hex: Option<String>,
    batch: Option<bool>,
    messages: Option<Vec<ExpectedMessage>>,
    code: Option<Code>,
    index: Option<usize>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExpectedMessage {
    channels: Vec<String>,
    event: Option<String>,
    data: String,
    #[serde(default = "normal")]
    priority: String,
    key: Option<String>,
    ttl: Option<u64>,
    #[serde(default = "yes")]
    store: bool,
    idempotency_key: Option<String>,
}

fn normal() -> String {
    "normal".into()
}

fn yes() -> bool {
    true
}

impl From<PublishMessage> for ExpectedMessage {
    fn from(message: PublishMessage) -> Self {
        Self {
            channels: message.channels.iter().map(ToString::to_string).collect(),
            event: message.event.map(|name| name.to_string()),
            data: message.data,
            priority: message.priority.to_string(),
            key: message.key,
            ttl: message.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap()),
            store: message.store,
            idempotency_key: message.idempotency_key,
        }
    }
}

#[test]
fn publish_bodies_are_taken_or_refused_as_the_cases_say() {
    let cases: Vec<BodyCase> = load("publish-bodies.json");
    assert!(cases.len() > 100);
    for case in cases {
        let body = case.body.map_or_else(|| unhex(&case.hex.unwrap()), String::into_bytes);
        let answer = parse_publish(case.content_type.as_deref(), &body);
        match (answer, case.code) {
            (Ok(PublishBody::One(message)), None) => {
                assert_eq!(case.batch, Some(false), "{}", case.name);
                assert_eq!(Some(vec![message.into()]), case.messages, "{}", case.name);
            }
            (Ok(PublishBody::Batch(messages)), None) => {
                assert_eq!(case.batch, Some(true), "{}", case.name);
                let messages: Vec<ExpectedMessage> =
                    messages.into_iter().map(ExpectedMessage::from).collect();
                assert_eq!(Some(messages), case.messages, "{}", case.name);
            }
            (Err(error), Some(code)) => {
                assert_eq!((error.code, error.index), (code, case.index), "{}: {error}", case.name);
                assert!(error.detail.len() < 400 && !error.detail.contains(char::is_control), "{error}");
            }
            (answer, code) => panic!("{}: wanted {code:?}, got {answer:?}", case.name),
        }
    }
}
