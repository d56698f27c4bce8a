//! Responses to publishes.

use tidings_protocol::EventId;
use tidings_protocol::body::PublishAnswer;

/// Parses the ids of a success response; each id must match the offset beside it.
pub(crate) fn event_ids(body: &[u8], is_list: bool) -> Option<Vec<EventId>> {
    let answers: Vec<PublishAnswer> =
        if is_list { serde_json::from_slice(body).ok()? } else { vec![serde_json::from_slice(body).ok()?] };
    let id = |answer: &PublishAnswer| {
        let id: EventId = answer.id.as_deref()?.parse().ok()?;
        (answer.offset == Some(id.offset)).then_some(id)
    };
    answers.iter().map(id).collect()
}

/// Parses the code of a problem document; empty if there is none.
pub(crate) fn problem_code(body: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    problem["code"].as_str().unwrap_or_default().to_owned()
}

/// Whether a problem document says that no event was stored.
pub(crate) fn is_not_stored(code: &str) -> bool {
    matches!(code, "not_stored" | "shutting_down")
}
