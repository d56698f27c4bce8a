//! Parameters of requests in path, query and headers.

use serde_json::{Value, json};

use super::schemas::{history, key, position, schema, ttl};

/// References to parameters by their names among the components.
pub(super) fn parameters(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })).collect()
}

/// All parameters by name.
pub(super) fn all() -> Value {
    let groups = [sink(), streaming(), publishing(), publishing_by_header(), reading()];
    Value::Object(
        groups.into_iter().flatten().map(|(name, parameter)| (name.to_owned(), parameter)).collect(),
    )
}

type Named = (&'static str, Value);

fn sink() -> Vec<Named> {
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
            `limits.channels_per_connection` times. Left out, the stream has the channels of its `ticket`.",
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
                "Resume after this id. It wins over the query; one that cannot be read is a gap.",
                &id,
            ),
        ),
        (
            "LastEventId",
            query(
                "lastEventId",
                "Resume after this id; `last_event_id` and `Last-Event-ID` are read, too.",
                &id,
            ),
        ),
        (
            "History",
            query("history", "Without an id, first replay up to so many stored events, or all.", &history()),
        ),
        ("Hello", query("hello", "Begin with a `tidings.open` event.", &flag(false))),
        (
            "Position",
            query(
                "position",
                "How the stream tells where it begins, and renews that: by `tidings.position` events with empty data, by \
                 blocks of an `id:` alone, or not at all. Left out, a browser's own `EventSource` is known by its headers and \
                 gets events; all others get none.",
                &position(),
            ),
        ),
    ]
}

const EVENT: &str = "The event's name; without one it is a `message`.";
const PRIORITY: &str = "How urgent the event is; `high` and `critical` overtake, `low` may be skipped, where a \
    connection is behind.";
const KEY: &str = "A connection that is behind gets only the newest pending event of each key.";
const TTL: &str = "Milliseconds for which the event is worth sending.";
const STORE: &str = "`false` sends the event to those who can take it now, without an id, and keeps nothing.";

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
                "A repeat with this key within `log.idempotency_window` gets the first's answer; 409 with other \
                 channels, event or data. Only for one event that is stored; in a batch each has its own \
                 `idempotencyKey`.",
                &key(),
            ),
        ),
    ]
}

fn reading() -> Vec<Named> {
    // The bounds are those of the route; a test asks it.
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 });
    let last = json!({ "type": "integer", "minimum": 1, "maximum": 1000 });
    vec![
        (
            "After",
            query(
                "after",
                "Begin after this id; left out, with the oldest kept.",
                &json!({ "type": "string" }),
            ),
        ),
        (
            "Until",
            query(
                "until",
                "Nothing after this id: a stream that resumes from it has the rest. One that cannot be read is 400.",
                &json!({ "type": "string" }),
            ),
        ),
        ("Last", query("last", "The newest events, so many, up to `until`; not beside `limit`.", &last)),
        ("Limit", query("limit", "Events of one page.", &limit)),
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
