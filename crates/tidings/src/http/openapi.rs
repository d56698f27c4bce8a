//! `GET /openapi.json`: the routes as an OpenAPI 3.1 document, for client generators and API browsers.
//!
//! Bounds and patterns come from the parsers' constants, which the attributes of `utoipa` cannot take (`DESIGN.md`). Tests compare the
//! document with the router, the parsers and the types.

mod answers;
mod parameters;
mod routes;
mod schemas;
mod security;

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderName, header};
use serde_json::{Value, json};

const HEADERS: [(HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];

const ABOUT: &str = "Publish events to channels and read them as Server-Sent Events: live, and from the last id of a client. Every error \
    is a problem document (RFC 9457); programs branch on its `code`. A hub with credentials checks the first credential \
    of a request, in the order `Authorization`, session, ticket, cookie, `access_token`. A bad one is 401, whatever \
    follows. A hub without credentials accepts every client, and answers 403 if `Host` or `Origin` is not allowed. Pages \
    of allowed origins can read `Tidings-Connection` and `Retry-After`.";

/// Answers with the document. It never changes while the process runs.
pub(super) async fn document() -> Response {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| description().to_string().into());
    (HEADERS, text.clone()).into_response()
}

/// Returns the routes below `/api/` with their methods, as text.
pub(super) fn api_routes() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let paths = routes::paths();
        let paths = paths.as_object().into_iter().flatten().filter(|(path, _)| path.starts_with("/api/"));
        let routes = paths.map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase());
            format!("{} {path}", methods.collect::<Vec<_>>().join(" and "))
        });
        routes.collect::<Vec<_>>().join(", ")
    })
}

fn description() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidings",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "tags": [
            { "name": "streams", "description": "Subscribe over Server-Sent Events." },
            { "name": "publish", "description": "Send events." },
            { "name": "credentials", "description": "Tickets for streams, and revocations." },
            { "name": "channels", "description": "Stored events of channels, and their connections." },
            { "name": "operating", "description": "For operators." },
        ],
        "security": security::security(&security::CARRIERS),
        "paths": routes::paths(),
        "components": {
            "schemas": schemas::all(),
            "parameters": parameters::all(),
            "responses": answers::refusals(),
            "headers": answers::headers(),
            "securitySchemes": security::schemes(),
        },
    })
}

#[cfg(test)]
mod tests;
