//! Reads any bytes as a publish body, under every content type.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_protocol::body::{MESSAGE_CHANNELS_MAX, PublishBody, PublishMessage, parse_publish};

fn check(message: &PublishMessage) {
    assert!((1..=MESSAGE_CHANNELS_MAX).contains(&message.channels.len()));
    assert!(message.store || message.idempotency_key.is_none());
    assert!(message.ttl.is_none_or(|ttl| !ttl.is_zero()));
}

fuzz_target!(|body: &[u8]| {
    for content_type in [None, Some("application/json"), Some("application/x-ndjson")] {
        match parse_publish(content_type, body) {
            Ok(PublishBody::One(message)) => check(&message),
            Ok(PublishBody::Batch(messages)) => {
                assert!(!messages.is_empty());
                messages.iter().for_each(check);
            }
            Err(error) => assert!(error.detail.len() < 1000, "{error}"),
        }
    }
});
