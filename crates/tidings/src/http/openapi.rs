//! `GET /openapi.json`: the routes that exist, as an OpenAPI 3.1 document for client generators and API browsers.
//!
//! Written by hand, not derived with `utoipa`: its macros cost every build time for a dozen routes, and would bring
//! derives into the protocol crate. Tests hold the document against the router, the parsers and the types instead.

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

const ABOUT: &str = "Publish events to channels and read them as Server-Sent Events, live and from where a client \
    left off. Every refusal is a problem document (RFC 9457) whose `code` programs may branch on. A hub with \
    credentials judges the first that a request has, in the order `Authorization`, session, ticket, cookie, \
    `access_token`; a bad one is 401, whatever else is there. A hub without any takes everyone, and answers 403 where \
    `Host` or `Origin` is not one that it allows. Pages of allowed origins read `Tidings-Connection` and `Retry-After`, \
    too.";

/// The document; it is the same for the life of the process.
pub(super) async fn document() -> Response {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| description().to_string().into());
    (HEADERS, text.clone()).into_response()
}

/// The routes below `/api/` with their methods, as a list in words.
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
            { "name": "credentials", "description": "Tickets for streams, and taking rights back." },
            { "name": "channels", "description": "What channels hold, and who listens." },
            { "name": "operating", "description": "For those who run the hub." },
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
