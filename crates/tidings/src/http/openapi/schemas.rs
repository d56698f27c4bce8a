//! Schemas of the JSON types of `tidings_protocol`.

use serde_json::{Map, Value, json};
use tidings_protocol::body::{
    BATCH_MESSAGES_MAX, EndReason, GapReason, KEY_BYTES_MAX, MESSAGE_CHANNELS_MAX, TTL_MAX,
};
use tidings_protocol::{CHANNEL_BYTES_MAX, Code, EventId, EventName, Priority};

pub(super) const CHANNEL_PATTERN: &str = "^[A-Za-z0-9_~@-]+([.:][A-Za-z0-9_~@-]+)*$";
pub(super) const SUBSCRIPTION_PATTERN: &str =
    r"^(([A-Za-z0-9_~@-]+|\*)([.:]([A-Za-z0-9_~@-]+|\*))*([.:]\*\*)?|\*\*)$";

const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

/// Returns a reference to a schema among the components.
pub(super) fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Returns all schemas by name.
pub(super) fn all() -> Value {
    let mut all = Map::new();
    for group in [names(), publishing(), requests(), answers(), notices()] {
        all.extend(group.as_object().cloned().unwrap_or_default());
    }
    all.into()
}

fn names() -> Value {
    json!({
        "ChannelName": {
            "type": "string",
            "description": "Segments separated by `.` or `:`, none empty.",
            "maxLength": CHANNEL_BYTES_MAX,
            "pattern": CHANNEL_PATTERN,
        },
        "Subscription": {
            "type": "string",
            "description": "A channel, or a pattern: `*` is one segment, `**` as the last segment one or more.",
            "maxLength": CHANNEL_BYTES_MAX,
            "pattern": SUBSCRIPTION_PATTERN,
        },
        "EventName": {
            "type": "string",
            "description": format!(
                "At most {} bytes of UTF-8 without CR, LF and NUL. Names that begin with `{}` are reserved.",
                EventName::BYTES_MAX,
                EventName::RESERVED_PREFIX
            ),
            "minLength": 1,
            "maxLength": EventName::BYTES_MAX,
        },
        "EventId": {
            "type": "string",
            "description": "An opaque id to resume after.",
            "maxLength": EventId::BYTES_MAX,
            "pattern": "^[A-Za-z0-9._~-]+$",
        },
        "Priority": { "type": "string", "enum": PRIORITIES.map(Priority::as_str), "default": "normal" },
    })
}

fn or_null(schema: &Value) -> Value {
    json!({ "oneOf": [schema, { "type": "null" }] })
}

/// Returns the schema of an object whose members are required unless they are in `optional`.
fn object(description: &str, properties: &Value, optional: &[&str]) -> Value {
    let members = properties.as_object().map(Map::keys).into_iter().flatten();
    let required: Vec<_> = members.filter(|member| !optional.contains(&member.as_str())).collect();
    json!({ "type": "object", "description": description, "required": required, "properties": properties })
}

/// Returns the schema of a request body: an object without further members, of which those in `nullable` may be null.
fn request(description: &str, properties: &Value, optional: &[&str], nullable: &[&str]) -> Value {
    let mut request = object(description, properties, optional);
    for name in nullable {
        let member = &mut request["properties"][name];
        *member = or_null(member);
    }
    request["additionalProperties"] = false.into();
    request
}

fn publishing() -> Value {
    let message = json!({
        "channels": {
            "type": "array",
            "items": schema("ChannelName"),
            "minItems": 1,
            "description": format!("The event's channels: at most {MESSAGE_CHANNELS_MAX}; a repeated one counts once."),
        },
        "event": schema("EventName"),
        "data": { "description": "A string is sent unchanged, any other value as compact JSON; null is the text `null`." },
        "priority": schema("Priority"),
        "key": key(),
        "ttl": ttl(),
        "store": { "type": "boolean", "default": true },
        "idempotencyKey": key(),
    });
    let optional = ["event", "priority", "key", "ttl", "store", "idempotencyKey"];
    let about = "One event to publish. An optional member that is null counts as absent.";
    json!({
        "PublishMessage": request(about, &message, &optional, &optional),
        "PublishBatch": { "type": "array", "items": schema("PublishMessage"), "minItems": 1, "maxItems": BATCH_MESSAGES_MAX },
        "PublishAnswer": object(
            "An id that resumes after the event; null and without offset if the event is not stored.",
            &json!({ "id": or_null(&schema("EventId")), "offset": offset() }),
            &["offset"],
        ),
    })
}

fn requests() -> Value {
    let stream = json!({
        "channels": {
            "type": "array",
            "items": schema("Subscription"),
            "description": "If absent or empty, the stream has the channels of its `ticket`.",
        },
        "lastEventId": { "type": "string", "description": "Resume after this id; the header `Last-Event-ID` wins." },
        "history": history(),
        "hello": { "type": "boolean", "default": false },
        "position": position(),
    });
    let options = ["lastEventId", "history", "hello", "position"];
    let optional = ["channels", "lastEventId", "history", "hello", "position"];
    let ticket = json!({ "channels": { "type": "array", "items": schema("Subscription"), "minItems": 1 } });
    let name = json!({ "type": "string", "minLength": 1, "maxLength": 1024 });
    let revocation = json!({
        "user": name,
        "session": name,
        "jti": name,
        "until": time("The end of the revocation; if absent, after `auth.token_max_age`."),
    });
    let mut revocation =
        request("The subject to revoke.", &revocation, &["user", "session", "jti", "until"], &["until"]);
    revocation["oneOf"] =
        json!([{ "required": ["user"] }, { "required": ["session"] }, { "required": ["jti"] }]);
    json!({
        "StreamRequest": request("Parameters of a stream.", &stream, &optional, &options),
        "TicketRequest": request("Channels and patterns of the stream.", &ticket, &[], &[]),
        "RevocationRequest": revocation,
    })
}

fn answers() -> Value {
    let ticket = json!({
        "ticket": { "type": "string", "description": "Value of the query parameter `ticket`, for one request." },
        "expiresAt": time("The end of its validity."),
    });
    let page = json!({
        "events": { "type": "array", "items": schema("HistoryEvent") },
        "next": or_null(&schema("EventId")),
        "gap": schema("GapNotice"),
    });
    let event = json!({
        "id": schema("EventId"),
        "offset": offset(),
        "channels": texts("Those of its channels that the client may read."),
        "event": or_null(&json!({ "type": "string" })),
        "data": { "type": "string" },
        "publishedAt": { "type": "string", "format": "date-time" },
    });
    let list = json!({ "channels": { "type": "array", "items": schema("ChannelCount") } });
    let count = json!({
        "channel": schema("Subscription"),
        "connections": { "type": "integer", "minimum": 0 },
    });
    let about_page =
        "A page of stored events; `next` is the value of `after` for the next page, null at the end.";
    let about_count = "A channel or pattern as requested, and its number of connections.";
    json!({
        "Ticket": object("A ticket.", &ticket, &[]),
        "HistoryPage": object(about_page, &page, &["gap"]),
        "HistoryEvent": object("A stored event; `event` is null if it has no name.", &event, &[]),
        "ChannelList": object("Channels and patterns with connections.", &list, &[]),
        "ChannelCount": object(about_count, &count, &[]),
    })
}

fn offset() -> Value {
    json!({ "type": "integer", "minimum": 0, "description": "The event's offset in the log." })
}

fn time(description: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": description })
}

fn texts(description: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string" }, "description": description })
}

/// Returns the schemas of the hub's own events and of errors.
fn notices() -> Value {
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let gap = json!({
        "channels": texts("The channels that lost events, or the requested subscriptions if the channels are unknown."),
        "reason": { "type": "string", "enum": GapReason::ALL.map(GapReason::as_str) },
        "requested": or_null(&json!({ "type": "string", "description": "The id of the request." })),
        "resumedAt": schema("EventId"),
    });
    let end = json!({
        "reason": { "type": "string", "enum": EndReason::ALL.map(EndReason::as_str) },
        "reconnect": { "type": "boolean" },
    });
    let open = json!({
        "connectionId": { "type": "string" },
        "channels": texts("The channels and patterns that the connection is subscribed to."),
        "position": or_null(&schema("EventId")),
        "now": { "type": "string", "format": "date-time", "description": "The node's clock." },
        "keepAlive": { "type": "number", "description": "`stream.keep_alive` in seconds." },
        "node": { "type": "string", "description": "The node's name; it changes at each start." },
        "expiresAt": { "type": "string", "format": "date-time", "description": "The end of the credential; absent if it has none." },
    });
    let problem = json!({
        "type": { "const": "about:blank" },
        "title": { "type": "string", "description": "The status in words." },
        "status": { "type": "integer", "minimum": 400, "maximum": 599 },
        "code": { "type": "string", "enum": codes, "description": "The error, for programs." },
        "detail": { "type": "string", "description": "The error, for people: value, bound, advice." },
        "index": { "type": "integer", "minimum": 0, "description": "The first bad message of a batch." },
        "channel": { "type": "string", "description": "The channel or pattern that caused the error, if the request names several." },
        "limit": { "type": "string", "description": "The setting whose limit was reached." },
    });
    let about_gap = "Data of a `tidings.gap` event: events are missing before the next one.";
    let about_open = "Data of a `tidings.open` event: the stream has begun.";
    json!({
        "GapNotice": object(about_gap, &gap, &[]),
        "EndNotice": object("Data of a `tidings.end` event: the stream closes.", &end, &[]),
        "OpenNotice": object(about_open, &open, &["expiresAt"]),
        "Problem": object("An error (RFC 9457).", &problem, &["index", "channel", "limit"]),
    })
}

/// Amount of history to replay.
pub(super) fn history() -> Value {
    json!({ "oneOf": [{ "type": "integer", "minimum": 0 }, { "const": "all" }] })
}

/// Style of positions.
pub(super) fn position() -> Value {
    json!({ "type": "string", "enum": ["event", "id", "none"] })
}

/// Schema of a key; the bound counts bytes of UTF-8.
pub(super) fn key() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX })
}

/// Schema of a time to live in milliseconds.
pub(super) fn ttl() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": u64::try_from(TTL_MAX.as_millis()).expect("ten years fit") })
}
