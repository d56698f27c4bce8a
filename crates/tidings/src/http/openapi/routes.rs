//! Paths and methods, with their parameters and responses.

use serde_json::{Value, json};

use super::answers::{STREAM, answer, json_answer, stream_answer, with_refusals};
use super::parameters::parameters;
use super::schemas::schema;
use super::security::{STREAM_CARRIERS, security};

/// Errors of a publish.
const PUBLISH_REFUSALS: [u16; 10] = [400, 401, 403, 408, 409, 413, 415, 422, 429, 503];
/// Errors of a stream.
const STREAM_REFUSALS: [u16; 5] = [400, 401, 403, 429, 503];
/// Errors of a stream, a ticket or a revocation that a body asks for.
const POSTED_REFUSALS: [u16; 8] = [400, 401, 403, 408, 413, 415, 429, 503];

pub(super) fn paths() -> Value {
    json!({
        "/api/v1/events": { "get": subscribe_to_several() },
        "/api/v1/events/{channel}": { "get": subscribe_to_one(), "post": publish_body() },
        "/api/v1/stream": { "post": open_stream() },
        "/api/v1/publish": { "post": publish_messages() },
        "/api/v1/tickets": { "post": make_ticket() },
        "/api/v1/revocations": { "post": revoke() },
        "/api/v1/channels": { "get": list_channels() },
        "/api/v1/channels/{channel}/events": { "get": read_history() },
        "/healthz": { "get": alive("alive"), "options": alive("probeAlive") },
        "/readyz": { "get": ready("ready"), "options": ready("probeReady") },
        "/metrics": { "get": metrics() },
        "/openapi.json": { "get": itself() },
    })
}

/// Returns an operation; `members` has those that not every operation has.
fn operation((id, tag, summary): (&str, &str, &str), responses: Value, mut members: Value) -> Value {
    members["operationId"] = id.into();
    members["tags"] = json!([tag]);
    members["summary"] = summary.into();
    members["responses"] = responses;
    members
}

/// Returns the required JSON body of a request.
fn json_body(name: &str, example: &Value) -> Value {
    json!({
        "required": true,
        "content": { "application/json": { "schema": schema(name), "example": example } },
    })
}

fn subscribe_to_one() -> Value {
    let about = format!(
        "{STREAM} Under `TEST_MODE` the stream is one unnamed event \
         `{{\"type\":\"test\",\"message\":\"SSE endpoint working\"}}`, and ends."
    );
    subscribe(("subscribe", "Subscribe to a channel or pattern"), &about, "Subscription")
}

fn subscribe_to_several() -> Value {
    let about = format!("An event on several of the channels is sent once. {STREAM}");
    let summary = "Subscribe to several channels and patterns over one connection";
    subscribe(("subscribeToSeveral", summary), &about, "Subscriptions")
}

fn subscribe((id, summary): (&str, &str), about: &str, channels: &str) -> Value {
    let names = [channels, "LastEventIdHeader", "LastEventId", "History", "Hello", "Position"];
    operation(
        (id, "streams", summary),
        with_refusals(stream_answer(), &STREAM_REFUSALS),
        json!({
            "description": about,
            "security": security(&STREAM_CARRIERS),
            "parameters": parameters(&names),
        }),
    )
}

fn open_stream() -> Value {
    let example = json!({ "channels": ["project.42", "user:7:**"], "history": 10 });
    operation(
        ("openStream", "streams", "Subscribe to the channels and patterns in the body"),
        with_refusals(stream_answer(), &POSTED_REFUSALS),
        json!({
            "description": format!(
                "Like `GET /api/v1/events`, for clients other than `EventSource`: many channels do not fit into a URL. \
                 The stream has no positions unless the body asks for them. {STREAM}"
            ),
            "security": security(&STREAM_CARRIERS),
            "parameters": parameters(&["LastEventIdHeader"]),
            "requestBody": json_body("StreamRequest", &example),
        }),
    )
}

fn publish_body() -> Value {
    let members = ["Event", "Priority", "Key", "Ttl", "Store"];
    let headers = members.map(|name| format!("{name}Header"));
    let mut names = vec!["Channel"];
    names.extend(members.into_iter().chain(headers.iter().map(String::as_str)));
    names.push("IdempotencyKey");
    let text =
        json!({ "schema": { "type": "string" }, "example": "{\"type\":\"created\",\"object\":{\"id\":7}}" });
    operation(
        ("publish", "publish", "Publish the body to one channel"),
        publish_responses(&schema("PublishAnswer"), "The event was published."),
        json!({
            "description": "The unchanged body is the event's data: UTF-8 of any content type, may be empty. The other members of \
                the event are in the query or in `Tidings-` headers; if both are given they must be equal.",
            "parameters": parameters(&names),
            "requestBody": { "content": { "text/plain": text, "*/*": text } },
        }),
    )
}

fn publish_messages() -> Value {
    let lines = json!({
        "schema": {
            "type": "string",
            "description": "NDJSON: one `PublishMessage` per line; blank lines are ignored.",
        },
        "example": "{\"channels\":[\"project.42\"],\"data\":1}\n{\"channels\":[\"project.42\"],\"data\":2}\n",
    });
    let json_body = json!({
        "schema": { "oneOf": [schema("PublishMessage"), schema("PublishBatch")] },
        "example": { "channels": ["project.42"], "event": "created", "data": { "id": 7 } },
    });
    let answers = json!({ "oneOf": [
        schema("PublishAnswer"),
        { "type": "array", "items": schema("PublishAnswer") },
    ] });
    operation(
        ("publishMessages", "publish", "Publish one event, or a batch of them"),
        publish_responses(&answers, "The event, or every event of the batch, was published."),
        json!({
            "description": "One JSON object is one event. An array or NDJSON is a batch. The hub stores a batch as a whole, or \
                refuses it as a whole with the `index` of the first bad message. The response of a batch is a list in \
                the same order. An event on several channels reaches a connection once.",
            "parameters": parameters(&["IdempotencyKey"]),
            "requestBody": {
                "required": true,
                "content": {
                    "application/json": json_body,
                    "application/x-ndjson": lines,
                    "application/ndjson": lines,
                    "application/jsonl": lines,
                },
            },
        }),
    )
}

fn publish_responses(schema: &Value, description: &str) -> Value {
    ok(json_answer(description, schema), &PUBLISH_REFUSALS)
}

/// Returns the responses of an operation whose success is 200.
fn ok(answer: Value, refusals: &[u16]) -> Value {
    with_refusals(Value::from_iter([("200", answer)]), refusals)
}

fn make_ticket() -> Value {
    let ticket = json_answer("The ticket, for one stream.", &schema("Ticket"));
    operation(
        ("makeTicket", "credentials", "Issue a ticket for an `EventSource`"),
        with_refusals(json!({ "201": ticket }), &POSTED_REFUSALS),
        json!({
            "description": "An `EventSource` cannot send headers, and a token does not belong into a URL. A ticket opens one stream \
                of exactly these channels, within 60 s, with the rights of the credential that issued it. \
                `/api/v1/events?ticket=…` without channels has those of the ticket. The stream ends when that credential \
                ends. The request needs a credential.",
            "requestBody": json_body("TicketRequest", &json!({ "channels": ["project.42", "user:7:**"] })),
        }),
    )
}

fn revoke() -> Value {
    let done = json!({ "description": "The revocation is in force and stored; with Redis, for every node." });
    operation(
        ("revoke", "credentials", "Revoke a user, a session or a token"),
        with_refusals(json!({ "204": done }), &POSTED_REFUSALS),
        json!({
            "description": "Needs the right `manage`. Every node ends the streams and refuses the tokens until `until`, also after a \
                restart. A user's tokens are refused if they were issued (`iat`) at or before the revocation, so that a new \
                login works.",
            "requestBody": json_body("RevocationRequest", &json!({ "user": "alice" })),
        }),
    )
}

fn list_channels() -> Value {
    let list = json_answer("Channels and patterns with connections.", &schema("ChannelList"));
    operation(
        ("listChannels", "channels", "List channels with connections"),
        ok(list, &[401, 403, 503]),
        json!({
            "description": "A pattern is listed as requested. A client without the right `manage` sees the subscriptions of its own \
                streams; a client without credentials sees none.",
        }),
    )
}

fn read_history() -> Value {
    let page = json_answer("Stored events, oldest first.", &schema("HistoryPage"));
    operation(
        ("readHistory", "channels", "Read the stored events of a channel"),
        ok(page, &[400, 401, 403, 503]),
        json!({
            "description": "For the next page set `after` to `next`, until that is null. `gap` is present if a stream from the same \
                id would report one.",
            "parameters": parameters(&["Channel", "After", "Until", "Last", "Limit"]),
        }),
    )
}

fn alive(id: &str) -> Value {
    let alive = health("alive", "The process answers.");
    operation(
        (id, "operating", "Check that the process answers"),
        ok(alive, &[403]),
        json!({ "security": [] }),
    )
}

fn ready(id: &str) -> Value {
    let is_ready = health("ready", "The log is open and writable, and the hub is not shutting down.");
    operation(
        (id, "operating", "Check that the hub can serve"),
        ok(is_ready, &[403, 503]),
        json!({ "security": [] }),
    )
}

fn health(status: &str, description: &str) -> Value {
    let body = json!({
        "type": "object",
        "properties": { "status": { "const": status } },
        "required": ["status"],
    });
    json_answer(description, &body)
}

fn metrics() -> Value {
    let text = answer("All metrics.", "application/openmetrics-text", &json!({ "type": "string" }));
    let about = "Needs the right `manage` if the hub has credentials, unless `metrics.public` is set.";
    operation(
        ("metrics", "operating", "Read all metrics in the text format of Prometheus"),
        ok(text, &[401, 403]),
        json!({ "description": about }),
    )
}

fn itself() -> Value {
    let document = json_answer("An OpenAPI 3.1 document.", &json!({ "type": "object" }));
    operation(("openapi", "operating", "Read this document"), ok(document, &[403]), json!({ "security": [] }))
}
