//! What routes answer: JSON, streams, refusals.

use serde_json::{Map, Value, json};
use tidings_protocol::Problem;

use super::schemas::schema;

/// What a stream is, in words: OpenAPI has no schema for one.
pub(super) const STREAM: &str = "The answer is a stream of Server-Sent Events (HTML Standard, 9.2) that stays open. \
    It begins at once with `retry:`, a comment and the `id:` it starts from, before any event; every stored event \
    carries an `id:`. A client that comes back with the last id it saw, as an `EventSource` does by itself, gets every \
    later event once and in order, or is told of a gap first. Comments keep a quiet stream alive, and positions (ids \
    without an event, or `tidings.position` events with empty data) renew the client's id. Three further events are \
    the hub's own: `tidings.gap` (data: `GapNotice`), `tidings.end` (data: `EndNotice`), after which the stream \
    closes, and, where `hello=true`, `tidings.open` (data: `OpenNotice`).";

const STREAM_EXAMPLE: &str = "retry: 2000\n: here from the start\nid: 9c1f6a2e8b3d4705-41-0badcafe\n\nevent: created\n\
    data: {\"id\":7}\nid: 9c1f6a2e8b3d4705-42-5eedf00d\n\n";

/// Status, name, and what it means of each refusal.
pub(super) const REFUSALS: [(u16, &str, &str); 11] = [
    (400, "BadRequest", "The request is malformed: a name, parameter, header or body that cannot be used."),
    (403, "Forbidden", "The hub's own name, or a `Host` or `Origin` that is not allowed."),
    (404, "NotFound", "Nothing is there."),
    (405, "MethodNotAllowed", "The route does not know this method; `Allow` names those it does."),
    (408, "RequestTimeout", "The body did not arrive within `server.body_timeout`."),
    (409, "Conflict", "The idempotency key was used with other channels, event or data."),
    (413, "TooLarge", "The event, the body or the batch is too large."),
    (415, "UnsupportedMediaType", "The content type, charset or content encoding is not taken."),
    (422, "NotTheEnvelope", "The data is not the envelope that `channels.envelope` asks for."),
    (429, "TooManyRequests", "No further idempotency key can be kept now."),
    (
        503,
        "ServiceUnavailable",
        "The hub cannot do it now; `code` tells whether a publish may have happened.",
    ),
];

/// Adds the refusals that an operation is likely to meet, and the form of all others, to its answers.
pub(super) fn with_refusals(mut answers: Value, statuses: &[u16]) -> Value {
    for (status, name, _) in REFUSALS.iter().filter(|(status, ..)| statuses.contains(status)) {
        answers[status.to_string()] = json!({ "$ref": format!("#/components/responses/{name}") });
    }
    answers["default"] = json!({ "$ref": "#/components/responses/Refusal" });
    answers
}

/// All refusals by name.
pub(super) fn refusals() -> Value {
    let mut all = Map::new();
    for (status, name, description) in REFUSALS {
        let mut refusal = answer(description, Problem::CONTENT_TYPE, &schema("Problem"));
        if matches!(status, 429 | 503) {
            refusal["headers"] = json!({ "Retry-After": { "$ref": "#/components/headers/RetryAfter" } });
        }
        all.insert(name.into(), refusal);
    }
    all.insert("Refusal".into(), answer("Any other refusal.", Problem::CONTENT_TYPE, &schema("Problem")));
    all.into()
}

pub(super) fn headers() -> Value {
    json!({
        "RetryAfter": {
            "description": "Seconds after which another try may do better.",
            "schema": { "type": "integer", "minimum": 1 },
        },
        "TidingsConnection": {
            "description": "The connection's id.",
            "schema": { "type": "string" },
        },
    })
}

/// The answers of a route that streams.
pub(super) fn stream_answer() -> Value {
    let events = json!({ "type": "string", "description": "Server-Sent Events, UTF-8, lines end in LF." });
    let mut stream = answer("A stream of events.", "text/event-stream", &events);
    stream["content"]["text/event-stream"]["example"] = STREAM_EXAMPLE.into();
    stream["headers"] = json!({ "Tidings-Connection": { "$ref": "#/components/headers/TidingsConnection" } });
    json!({
        "200": stream,
        "204": { "description": "There is nothing to stream, now or later; an `EventSource` stops asking." },
    })
}

pub(super) fn json_answer(description: &str, schema: &Value) -> Value {
    answer(description, "application/json", schema)
}

pub(super) fn answer(description: &str, content_type: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { content_type: { "schema": schema } } })
}
