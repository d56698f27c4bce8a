//! Paths and methods, with their parameters and responses.

use serde_json::{Value, json};

use super::{
    answers::{STREAM, answer, json_answer, stream_answer, with_refusals},
    parameters::parameters,
    schemas::schema,
    security::{STREAM_CARRIERS, security},
};

/// Errors of a publish.
const PUBLISH_REFUSALS: [u16; 10] = [400, 401, 403, 408, 409, 413, 415, 422, 429, 503];
/// Errors of a stream.
const STREAM_REFUSALS: [u16; 5] = [400, 401, 403, 429, 503];
/// Errors of a stream whose request has a body.
const POSTED_STREAM_REFUSALS: [u16; 8] = [400, 401, 403, 408, 413, 415, 429, 503];

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

fn subscribe_to_one() -> Value {
    json!({
        "operationId": "subscribe",
        "tags": ["streams"],
        "summary": "Subscribe to a channel or pattern",
        "description": format!(
            "{STREAM} Under `TEST_MODE` the stream is one unnamed event \
             `{{\"type\":\"test\",\"message\":\"SSE endpoint working\"}}`, and ends."
        ),
        "security": security(&STREAM_CARRIERS),
        "parameters": stream_parameters("Subscription"),
        "responses": with_refusals(stream_answer(), &STREAM_REFUSALS),
    })
}

fn subscribe_to_several() -> Value {
    json!({
        "operationId": "subscribeToSeveral",
        "tags": ["streams"],
        "summary": "Subscribe to several channels and patterns over one connection",
        "description": format!("An event on several of the channels is sent once. {STREAM}"),
        "security": security(&STREAM_CARRIERS),
        "parameters": stream_parameters("Subscriptions"),
        "responses": with_refusals(stream_answer(), &STREAM_REFUSALS),
    })
}

fn open_stream() -> Value {
    json!({
        "operationId": "openStream",
        "tags": ["streams"],
        "summary": "Subscribe to the channels and patterns in the body",
        "description": format!(
            "Like `GET /api/v1/events`, for clients other than `EventSource`: many channels do not fit into a URL. \
             The stream has no positions unless the body asks for them. {STREAM}"
        ),
        "security": security(&STREAM_CARRIERS),
        "parameters": parameters(&["LastEventIdHeader"]),
        "requestBody": { "required": true, "content": { "application/json": {
            "schema": schema("StreamRequest"),
            "example": { "channels": ["project.42", "user:7:**"], "history": 10 },
        } } },
        "responses": with_refusals(stream_answer(), &POSTED_STREAM_REFUSALS),
    })
}

fn stream_parameters(asked: &str) -> Value {
    parameters(&[asked, "LastEventIdHeader", "LastEventId", "History", "Hello", "Position"])
}

fn publish_body() -> Value {
    let names = [
        "Channel",
        "Event",
        "Priority",
        "Key",
        "Ttl",
        "Store",
        "EventHeader",
        "PriorityHeader",
        "KeyHeader",
        "TtlHeader",
        "StoreHeader",
        "IdempotencyKey",
    ];
    let text =
        json!({ "schema": { "type": "string" }, "example": "{\"type\":\"created\",\"object\":{\"id\":7}}" });
    json!({
        "operationId": "publish",
        "tags": ["publish"],
        "summary": "Publish the body to one channel",
        "description": "The unchanged body is the event's data: UTF-8 of any content type, may be empty. The other members of \
            the event are in the query or in `Tidings-` headers; if both are given they must be equal.",
        "parameters": parameters(&names),
        "requestBody": { "content": { "text/plain": text, "*/*": text } },
        "responses": publish_responses(&schema("PublishAnswer"), "The event was published."),
    })
}

fn publish_messages() -> Value {
    let batch = json!({ "oneOf": [schema("PublishMessage"), schema("PublishBatch")] });
    let lines = json!({
        "schema": {
            "type": "string",
            "description": "NDJSON: one `PublishMessage` per line; blank lines are ignored.",
        },
        "example": "{\"channels\":[\"project.42\"],\"data\":1}\n{\"channels\":[\"project.42\"],\"data\":2}\n",
    });
    let json_body = json!({
        "schema": batch,
        "example": { "channels": ["project.42"], "event": "created", "data": { "id": 7 } },
    });
    let answers = json!({ "oneOf": [
        schema("PublishAnswer"),
        { "type": "array", "items": schema("PublishAnswer") },
    ] });
    json!({
        "operationId": "publishMessages",
        "tags": ["publish"],
        "summary": "Publish one event, or a batch of them",
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
        "responses": publish_responses(&answers, "The event, or every event of the batch, was published."),
    })
}

fn publish_responses(schema: &Value, description: &str) -> Value {
    with_refusals(json!({ "200": json_answer(description, schema) }), &PUBLISH_REFUSALS)
}

fn make_ticket() -> Value {
    let ticket = json_answer("The ticket, for one stream.", &schema("Ticket"));
    json!({
        "operationId": "makeTicket",
        "tags": ["credentials"],
        "summary": "Issue a ticket for an `EventSource`",
        "description": "An `EventSource` cannot send headers, and a token does not belong into a URL. A ticket opens one stream \
            of exactly these channels, within 60 s, with the rights of the credential that issued it. \
            `/api/v1/events?ticket=…` without channels has those of the ticket. The stream ends when that credential \
            ends. The request needs a credential.",
        "requestBody": { "required": true, "content": { "application/json": {
            "schema": schema("TicketRequest"),
            "example": { "channels": ["project.42", "user:7:**"] },
        } } },
        "responses": with_refusals(json!({ "201": ticket }), &[400, 401, 403, 408, 413, 415, 429, 503]),
    })
}

fn revoke() -> Value {
    json!({
        "operationId": "revoke",
        "tags": ["credentials"],
        "summary": "Revoke a user, a session or a token",
        "description": "Needs the right `manage`. Every node ends the streams and refuses the tokens until `until`, also after a \
            restart. A user's tokens are refused if they were issued (`iat`) at or before the revocation, so that a new \
            login works.",
        "requestBody": { "required": true, "content": { "application/json": {
            "schema": schema("RevocationRequest"),
            "example": { "user": "alice" },
        } } },
        "responses": with_refusals(
            json!({ "204": { "description": "The revocation is in force and stored; with Redis, for every node." } }),
            &[400, 401, 403, 408, 413, 415, 429, 503],
        ),
    })
}

fn list_channels() -> Value {
    let list = json_answer("Channels and patterns with connections.", &schema("ChannelList"));
    json!({
        "operationId": "listChannels",
        "tags": ["channels"],
        "summary": "List channels with connections",
        "description": "A pattern is listed as requested. A client without the right `manage` sees the subscriptions of its own \
            streams; a client without credentials sees none.",
        "responses": with_refusals(json!({ "200": list }), &[401, 403, 503]),
    })
}

fn read_history() -> Value {
    let page = json_answer("Stored events, oldest first.", &schema("HistoryPage"));
    json!({
        "operationId": "readHistory",
        "tags": ["channels"],
        "summary": "Read the stored events of a channel",
        "description": "For the next page set `after` to `next`, until that is null. `gap` is present if a stream from the same \
            id would report one.",
        "parameters": parameters(&["Channel", "After", "Until", "Last", "Limit"]),
        "responses": with_refusals(json!({ "200": page }), &[400, 401, 403, 503]),
    })
}

fn alive(operation: &str) -> Value {
    json!({
        "operationId": operation,
        "tags": ["operating"],
        "security": [],
        "summary": "Check that the process answers",
        "responses": with_refusals(json!({ "200": health("alive", "The process answers.") }), &[403]),
    })
}

fn ready(operation: &str) -> Value {
    let is_ready = health("ready", "The log is open and writable, and the hub is not shutting down.");
    json!({
        "operationId": operation,
        "tags": ["operating"],
        "security": [],
        "summary": "Check that the hub can serve",
        "responses": with_refusals(json!({ "200": is_ready }), &[403, 503]),
    })
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
    json!({
        "operationId": "metrics",
        "tags": ["operating"],
        "summary": "Read all metrics in the text format of Prometheus",
        "description": "Needs the right `manage` if the hub has credentials, unless `metrics.public` is set.",
        "responses": with_refusals(json!({ "200": text }), &[401, 403]),
    })
}

fn itself() -> Value {
    let document = json_answer("An OpenAPI 3.1 document.", &json!({ "type": "object" }));
    json!({
        "operationId": "openapi",
        "tags": ["operating"],
        "security": [],
        "summary": "Read this document",
        "responses": with_refusals(json!({ "200": document }), &[403]),
    })
}
