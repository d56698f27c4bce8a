//! Parameters of requests in path, query and headers.

use serde_json::{Value, json};

use super::schemas::{history, key, position, schema, ttl};

/// Returns references to parameters among the components.
pub(super) fn parameters(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })).collect()
}

/// Returns all parameters by name.
pub(super) fn all() -> Value {
    let groups = [channels(), streaming(), publishing(), publishing_by_header(), reading()];
    Value::Object(
        groups.into_iter().flatten().map(|(name, parameter)| (name.to_owned(), parameter)).collect(),
    )
}

type Named = (&'static str, Value);

fn channels() -> Vec<Named> {
    let channel = json!({
        "name": "channel",
        "in": "path",
        "required": true,
        "description": "The channel.",
        "schema": schema("ChannelName"),
        "example": "project.42",
    });
    let subscription = json!({
        "name": "channel",
        "in": "path",
        "required": true,
        "description": "A channel or a pattern.",
        "schema": schema("Subscription"),
        "example": "project.*",
    });
    let subscriptions = json!({
        "name": "channel",
        "in": "query",
        "description": "Channels and patterns: the parameter is repeated, as in `?channel=a&channel=b.*`, at most \
            `limits.channels_per_connection` times. If absent, the stream has the channels of its `ticket`.",
        "schema": { "type": "array", "items": schema("Subscription"), "minItems": 1 },
        "style": "form",
        "explode": true,
        "example": ["project.42", "user:7:**"],
    });
    vec![("Channel", channel), ("Subscription", subscription), ("Subscriptions", subscriptions)]
}

fn streaming() -> Vec<Named> {
    let id = json!({ "type": "string" });
    vec![
        (
            "LastEventIdHeader",
            header(
                "Last-Event-ID",
                "Resume after this id. It wins over the query; an unreadable id is a gap.",
                &id,
            ),
        ),
        (
            "LastEventId",
            query(
                "lastEventId",
                "Resume after this id; `last_event_id` and `Last-Event-ID` are aliases.",
                &id,
            ),
        ),
        (
            "History",
            query(
                "history",
                "Without an id, first replay at most this many stored events, or all.",
                &history(),
            ),
        ),
        ("Hello", query("hello", "Begin with a `tidings.open` event.", &flag(false))),
        (
            "Position",
            query(
                "position",
                "How the stream sends its position: as `tidings.position` events with empty data, as blocks of an `id:` \
                 alone, or not at all. If absent, a browser's `EventSource`, recognized by its headers, gets events; \
                 other clients get none.",
                &position(),
            ),
        ),
    ]
}

const EVENT: &str = "The event's name; without a name it is a `message`.";
const PRIORITY: &str = "The event's priority. On a connection that is behind, `high` and `critical` overtake and `low` may be \
    skipped.";
const KEY: &str = "A connection that is behind gets only the newest pending event of each key.";
const TTL: &str = "Time to live in milliseconds: afterwards the event is not sent.";
const STORE: &str =
    "`false` sends the event without an id to connections that are not behind, and stores nothing.";

fn publishing() -> Vec<Named> {
    vec![
        ("Event", query("event", EVENT, &schema("EventName"))),
        ("Priority", query("priority", PRIORITY, &schema("Priority"))),
        ("Key", query("key", KEY, &key())),
        ("Ttl", query("ttl", TTL, &ttl())),
        ("Store", query("store", STORE, &flag(true))),
    ]
}

fn publishing_by_header() -> Vec<Named> {
    vec![
        ("EventHeader", header("Tidings-Event", EVENT, &schema("EventName"))),
        ("PriorityHeader", header("Tidings-Priority", PRIORITY, &schema("Priority"))),
        ("KeyHeader", header("Tidings-Key", KEY, &key())),
        ("TtlHeader", header("Tidings-Ttl", TTL, &ttl())),
        ("StoreHeader", header("Tidings-Store", STORE, &flag(true))),
        (
            "IdempotencyKey",
            header(
                "Idempotency-Key",
                "A repeat with this key within `log.idempotency_window` gets the first response; 409 with other \
                 channels, event or data. Only for one stored event; in a batch each message has its own \
                 `idempotencyKey`.",
                &key(),
            ),
        ),
    ]
}

fn reading() -> Vec<Named> {
    // A test compares these bounds with the route.
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 });
    let last = json!({ "type": "integer", "minimum": 1, "maximum": 1000 });
    vec![
        (
            "After",
            query(
                "after",
                "Begin after this id; if absent, with the oldest stored event.",
                &json!({ "type": "string" }),
            ),
        ),
        (
            "Until",
            query(
                "until",
                "End at this id: a stream that resumes from it has the rest. An unreadable id is 400.",
                &json!({ "type": "string" }),
            ),
        ),
        (
            "Last",
            query("last", "The newest events, at most this many, up to `until`; not with `limit`.", &last),
        ),
        ("Limit", query("limit", "Events per page.", &limit)),
    ]
}

fn flag(default: bool) -> Value {
    json!({ "type": "boolean", "default": default })
}

fn query(name: &str, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

fn header(name: &str, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "header", "description": description, "schema": schema })
}
