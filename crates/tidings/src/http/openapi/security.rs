//! Credentials of requests.

use serde_json::{Value, json};

/// Carriers of credentials on every route except probes. The first present one in this order decides.
pub(super) const CARRIERS: [&str; 5] = ["bearer", "sessionHeader", "sessionQuery", "cookie", "accessToken"];
/// Carriers of credentials on streams.
pub(super) const STREAM_CARRIERS: [&str; 6] =
    ["bearer", "sessionHeader", "sessionQuery", "ticket", "cookie", "accessToken"];

/// Accepts any one of these carriers or none: an open hub reads none, other hubs may serve anonymous clients.
pub(super) fn security(carriers: &[&str]) -> Value {
    let one = carriers.iter().map(|carrier| json!({ *carrier: [] }));
    std::iter::once(json!({})).chain(one).collect()
}

/// Returns all carriers by name.
pub(super) fn schemes() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "`Authorization: Bearer` with a JWT or an API key (`tk_…`).",
        },
        "sessionHeader": carrier("header", "X-Session-Id", "The id of a live session."),
        "sessionQuery": carrier("query", "sessionId", "Like `X-Session-Id`, for an `EventSource`."),
        "ticket": carrier("query", "ticket", "A ticket from `POST /api/v1/tickets`, for one stream."),
        "cookie": carrier(
            "cookie",
            "session",
            "A JWT in the cookie that the setting `auth.cookie` names; without the setting no cookie is read. Pages of \
             other origins must be listed in `cors.origins`.",
        ),
        "accessToken": carrier(
            "query",
            "access_token",
            "A JWT, only if `auth.query_token` is set: URLs end up in the logs of proxies.",
        ),
    })
}

fn carrier(place: &str, name: &str, description: &str) -> Value {
    json!({ "type": "apiKey", "in": place, "name": name, "description": description })
}
