//! Finds and reads the files of `conformance/`.

use serde::de::DeserializeOwned;
use tidings_protocol::sse::{Parser, StreamItem};

pub(crate) fn load<T: DeserializeOwned>(file: &str) -> T {
    let path = format!("{}/../../conformance/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Feeds the portions to one parser; returns what it told, and the last id.
pub(crate) fn parse(portions: &[&[u8]]) -> (Vec<StreamItem>, String) {
    let mut parser = Parser::new();
    let mut items = Vec::new();
    for portion in portions {
        parser.feed(portion, &mut |item| items.push(item)).unwrap();
    }
    (items, parser.last_event_id().to_owned())
}
