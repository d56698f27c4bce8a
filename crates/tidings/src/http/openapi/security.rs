//! How a request says who it comes from.

use serde_json::{Value, json};

/// The carriers that every route but those for probes takes, in the order in which the first one present decides.
pub(super) const CARRIERS: [&str; 5] = ["bearer", "sessionHeader", "sessionQuery", "cookie", "accessToken"];
/// Those that a stream takes.
pub(super) const STREAM_CARRIERS: [&str; 6] =
    ["bearer", "sessionHeader", "sessionQuery", "ticket", "cookie", "accessToken"];

/// Any one of these carriers, or none: an open hub looks at none, and others have what anyone may read.
pub(super) fn security(carriers: &[&str]) -> Value {
    let one = carriers.iter().map(|carrier| json!({ *carrier: [] }));
    std::iter::once(json!({})).chain(one).collect()
}

/// All carriers by name.
pub(super) fn schemes() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "`Authorization: Bearer` with a JWT or an API key (`tk_…`).",
        },
        "sessionHeader": carrier("header", "X-Session-Id", "The id of a live session."),
        "sessionQuery": carrier("query", "sessionId", "As `X-Session-Id`, for an `EventSource`."),
        "ticket": carrier("query", "ticket", "A ticket from `POST /api/v1/tickets`, for one stream."),
        "cookie": carrier(
            "cookie",
            "session",
            "A JWT. The cookie has the name that the setting `auth.cookie` gives; without it none is read. Pages of \
             other origins than the hub's own have to be listed in `cors.origins`.",
        ),
        "accessToken": carrier(
            "query",
            "access_token",
            "A JWT, only where `auth.query_token` is set: what is in a URL is in every log on the way.",
        ),
    })
}

fn carrier(place: &str, name: &str, description: &str) -> Value {
    json!({ "type": "apiKey", "in": place, "name": name, "description": description })
}
