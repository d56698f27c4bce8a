//! Responses of routes: JSON, streams and errors.

use serde_json::{Map, Value, json};
use tidings_protocol::Problem;

use super::schemas::schema;
use crate::error::Code;

/// Description of a stream in words: OpenAPI has no schema for one.
pub(super) const STREAM: &str = "The response is a stream of Server-Sent Events (HTML Standard, 9.2) that stays open. It begins with the \
    lines `retry:` and a comment; every stored event has an `id:`. A client that reconnects with its last id, as an \
    `EventSource` does, gets every later event once and in order, or a gap first. Comments keep a quiet stream alive. \
    With `position` the stream begins with an id and renews it; a browser's `EventSource` gets that by default. The hub \
    sends three events of its own: `tidings.gap` (data: `GapNotice`), `tidings.end` (data: `EndNotice`), after which it \
    closes the stream, and with `hello=true` `tidings.open` (data: `OpenNotice`).";

const STREAM_EXAMPLE: &str = "retry: 1500\n: tidings\nevent: created\n\
    data: {\"id\":7}\nid: 9c1f6a2e8b3d4705-42-5eedf00d\n\n";

/// Errors with one status: the status, the name among the components, the meaning and the codes.
pub(super) struct ErrorKindDoc {
    pub(super) status: u16,
    name: &'static str,
    meaning: &'static str,
    pub(super) codes: &'static [Code],
}

/// All errors by status.
pub(super) const REFUSALS: [ErrorKindDoc; 14] = [
    ErrorKindDoc {
        status: 400,
        name: "BadRequest",
        meaning: "The request is malformed: a name, parameter, header or the body is invalid.",
        codes: &[
            Code::MalformedBody,
            Code::UnknownMember,
            Code::MissingData,
            Code::InvalidUtf8,
            Code::BadChannel,
            Code::BadEventName,
            Code::NotAvailable,
            Code::NoAudience,
            Code::BadPriority,
            Code::BadTtl,
            Code::BadKey,
            Code::BadIdempotencyKey,
            Code::DuplicateIdempotencyKey,
            Code::TooManyChannels,
            Code::BadQuery,
            Code::BadHeader,
            Code::BadRequest,
        ],
    },
    ErrorKindDoc {
        status: 401,
        name: "Unauthorized",
        meaning: "The request needs credentials and has none, or its credentials are not valid.",
        codes: &[Code::CredentialsMissing, Code::BadCredentials, Code::TokenExpired, Code::Revoked],
    },
    ErrorKindDoc {
        status: 403,
        name: "Forbidden",
        meaning: "The credentials do not allow the request, a name is reserved, or the `Host` or `Origin` is not allowed.",
        codes: &[Code::ReservedChannel, Code::ForbiddenHost, Code::ForbiddenOrigin, Code::AccessDenied],
    },
    ErrorKindDoc { status: 404, name: "NotFound", meaning: "No such resource.", codes: &[Code::NotFound] },
    ErrorKindDoc {
        status: 405,
        name: "MethodNotAllowed",
        meaning: "The route does not support this method; `Allow` lists the methods.",
        codes: &[Code::MethodNotAllowed],
    },
    ErrorKindDoc {
        status: 408,
        name: "RequestTimeout",
        meaning: "The body did not arrive within `server.body_timeout`.",
        codes: &[Code::BodyTimeout],
    },
    ErrorKindDoc {
        status: 409,
        name: "Conflict",
        meaning: "The idempotency key was used with other channels, event or data.",
        codes: &[Code::IdempotencyConflict],
    },
    ErrorKindDoc {
        status: 413,
        name: "TooLarge",
        meaning: "The event, the body or the batch is too large.",
        codes: &[Code::EventTooLarge, Code::BodyTooLarge, Code::BatchTooLarge],
    },
    ErrorKindDoc {
        status: 414,
        name: "UriTooLong",
        meaning: "The target is too long; `POST /api/v1/stream` takes channels in a body.",
        codes: &[Code::UriTooLong],
    },
    ErrorKindDoc {
        status: 415,
        name: "UnsupportedMediaType",
        meaning: "The content type, charset or content encoding is not supported.",
        codes: &[Code::UnsupportedMediaType],
    },
    ErrorKindDoc {
        status: 422,
        name: "NotTheEnvelope",
        meaning: "The data is not the envelope that `channels.envelope` requires.",
        codes: &[Code::Envelope, Code::UnknownType],
    },
    ErrorKindDoc {
        status: 429,
        name: "TooManyRequests",
        meaning: "A limit of the user, address, key or hub is reached; `limit` names the setting.",
        codes: &[
            Code::IdempotencyKeysFull,
            Code::UserConnectionsFull,
            Code::AddressConnectionsFull,
            Code::TooManyPublishes,
            Code::TooManyStreams,
            Code::TooMany,
        ],
    },
    ErrorKindDoc {
        status: 431,
        name: "HeadTooLarge",
        meaning: "The head is too large, or has too many headers.",
        codes: &[Code::HeadTooLarge],
    },
    ErrorKindDoc {
        status: 503,
        name: "ServiceUnavailable",
        meaning: "The hub cannot serve the request now; `code` says whether a publish may have happened.",
        codes: &[
            Code::NotStored,
            Code::OutcomeUnknown,
            Code::ConnectionsFull,
            Code::HookUnavailable,
            Code::KeysUnavailable,
            Code::ShuttingDown,
            Code::Unavailable,
        ],
    },
];

/// Adds the errors of an operation to its responses, and the shape of all other errors.
pub(super) fn with_refusals(mut answers: Value, statuses: &[u16]) -> Value {
    for ErrorKindDoc { status, name, .. } in REFUSALS.iter().filter(|kind| statuses.contains(&kind.status)) {
        answers[status.to_string()] = json!({ "$ref": format!("#/components/responses/{name}") });
    }
    answers["default"] = json!({ "$ref": "#/components/responses/Refusal" });
    answers
}

/// Returns all errors by name.
pub(super) fn refusals() -> Value {
    let mut all = Map::new();
    for ErrorKindDoc { status, name, meaning, codes } in REFUSALS {
        let codes: Vec<_> = codes.iter().map(|code| format!("`{code}`")).collect();
        let description = format!("{meaning} `code` is {}.", codes.join(", "));
        let mut refusal = answer(&description, Problem::CONTENT_TYPE, &schema("Problem"));
        match status {
            401 => refusal["headers"] = json!({ "WWW-Authenticate": header_named("WwwAuthenticate") }),
            429 | 503 => refusal["headers"] = json!({ "Retry-After": header_named("RetryAfter") }),
            _ => {}
        }
        all.insert(name.into(), refusal);
    }
    all.insert("Refusal".into(), answer("Any other error.", Problem::CONTENT_TYPE, &schema("Problem")));
    all.into()
}

fn header_named(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

pub(super) fn headers() -> Value {
    json!({
        "WwwAuthenticate": {
            "description": "The scheme for credentials.",
            "schema": { "const": "Bearer" },
        },
        "RetryAfter": {
            "description": "Seconds to wait before a retry.",
            "schema": { "type": "integer", "minimum": 1 },
        },
        "TidingsConnection": {
            "description": "The connection's id.",
            "schema": { "type": "string" },
        },
    })
}

/// Returns the responses of a route that streams.
pub(super) fn stream_answer() -> Value {
    let events = json!({ "type": "string", "description": "Server-Sent Events, UTF-8, lines end in LF." });
    let mut stream = answer("A stream of events.", "text/event-stream", &events);
    stream["content"]["text/event-stream"]["example"] = STREAM_EXAMPLE.into();
    stream["headers"] = json!({ "Tidings-Connection": header_named("TidingsConnection") });
    json!({
        "200": stream,
        "204": { "description": "No stream, now or later; an `EventSource` stops reconnecting." },
    })
}

pub(super) fn json_answer(description: &str, schema: &Value) -> Value {
    answer(description, "application/json", schema)
}

pub(super) fn answer(description: &str, content_type: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { content_type: { "schema": schema } } })
}
