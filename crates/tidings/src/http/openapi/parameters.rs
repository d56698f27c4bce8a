//! Parameters of requests in path, query and headers.

use serde_json::{Value, json};

use super::schemas::{history, key, position, schema, ttl};

/// Returns references to parameters among the components.
pub(super) fn parameters(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })).collect()
}

/// Returns all parameters by name.
pub(super) fn all() -> Value {
    let groups = [channels(), streaming(), publishing(), reading()];
    Value::Object(
        groups.into_iter().flatten().map(|(name, parameter)| (name.to_owned(), parameter)).collect(),
    )
}

/// A parameter with its name among the components.
type NamedParameter = (&'static str, Value);

fn channels() -> Vec<NamedParameter> {
    let in_path = |description, schema: Value, example: &str| {
        json!({
            "name": "channel",
            "in": "path",
            "required": true,
            "description": description,
            "schema": schema,
            "example": example,
        })
    };
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
    vec![
        ("Channel", in_path("The channel.", schema("ChannelName"), "project.42")),
        ("Subscription", in_path("A channel or a pattern.", schema("Subscription"), "project.*")),
        ("Subscriptions", subscriptions),
    ]
}

const RESUME_HEADER: &str = "Resume after this id. It wins over the query; an unreadable id is a gap.";
const RESUME: &str = "Resume after this id; `last_event_id` and `Last-Event-ID` are aliases.";
const HISTORY: &str = "Without an id, first replay at most this many stored events, or all.";
const POSITION: &str = "How the stream sends its position: as `tidings.position` events with empty data, as blocks of an `id:` \
    alone, or not at all. If absent, a browser's `EventSource`, recognized by its headers, gets events; other clients get none.";

fn streaming() -> Vec<NamedParameter> {
    vec![
        ("LastEventIdHeader", header("Last-Event-ID", RESUME_HEADER, text())),
        ("LastEventId", query("lastEventId", RESUME, text())),
        ("History", query("history", HISTORY, history())),
        ("Hello", query("hello", "Begin with a `tidings.open` event.", flag(false))),
        ("Position", query("position", POSITION, position())),
    ]
}

const EVENT: &str = "The event's name; without a name it is a `message`.";
const PRIORITY: &str = "The event's priority. On a connection that is behind, `high` and `critical` overtake and `low` may be \
    skipped.";
const KEY: &str = "A connection that is behind gets only the newest pending event of each key.";
const TTL: &str = "Time to live in milliseconds: afterwards the event is not sent.";
const STORE: &str =
    "`false` sends the event without an id to connections that are not behind, and stores nothing.";

const IDEMPOTENCY_KEY: &str = "A repeat with this key within `log.idempotency_window` gets the first response; 409 with other \
    channels, event or data. Only for one stored event; in a batch each message has its own `idempotencyKey`.";

/// Returns the parameters of an event, which may be in the query or in a header.
fn publishing() -> Vec<NamedParameter> {
    let both = [
        ("Event", "EventHeader", "event", "Tidings-Event", EVENT, schema("EventName")),
        ("Priority", "PriorityHeader", "priority", "Tidings-Priority", PRIORITY, schema("Priority")),
        ("Key", "KeyHeader", "key", "Tidings-Key", KEY, key()),
        ("Ttl", "TtlHeader", "ttl", "Tidings-Ttl", TTL, ttl()),
        ("Store", "StoreHeader", "store", "Tidings-Store", STORE, flag(true)),
    ];
    let both =
        both.into_iter().flat_map(|(name, name_of_header, in_query, in_header, description, schema)| {
            [
                (name, query(in_query, description, schema.clone())),
                (name_of_header, header(in_header, description, schema)),
            ]
        });
    both.chain([("IdempotencyKey", header("Idempotency-Key", IDEMPOTENCY_KEY, key()))]).collect()
}

const AFTER: &str = "Begin after this id; if absent, with the oldest stored event.";
const UNTIL: &str = "End at this id: a stream that resumes from it has the rest. An unreadable id is 400.";
const LAST: &str = "The newest events, at most this many, up to `until`; not with `limit`.";

fn reading() -> Vec<NamedParameter> {
    // A test compares these bounds with the route.
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 });
    let last = json!({ "type": "integer", "minimum": 1, "maximum": 1000 });
    vec![
        ("After", query("after", AFTER, text())),
        ("Until", query("until", UNTIL, text())),
        ("Last", query("last", LAST, last)),
        ("Limit", query("limit", "Events per page.", limit)),
    ]
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn flag(default: bool) -> Value {
    json!({ "type": "boolean", "default": default })
}

fn query(name: &str, description: &str, schema: Value) -> Value {
    parameter("query", name, description, schema)
}

fn header(name: &str, description: &str, schema: Value) -> Value {
    parameter("header", name, description, schema)
}

fn parameter(place: &str, name: &str, description: &str, schema: Value) -> Value {
    let mut parameter = json!({ "name": name, "in": place, "description": description });
    parameter["schema"] = schema;
    parameter
}
