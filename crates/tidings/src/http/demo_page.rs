//! The page at `/`: shows a hub at work, from files that are part of the program.

use std::sync::LazyLock;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, header};

use crate::Hub;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const SAFE: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-cache"),
];

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Files of the page: path, content type, text.
const FILES: [(&str, &str, &str); 7] = [
    ("/page/style.css", "text/css; charset=utf-8", include_str!("demo_page/style.css")),
    ("/page/main.js", SCRIPT, include_str!("demo_page/main.js")),
    ("/page/hub.js", SCRIPT, include_str!("demo_page/hub.js")),
    ("/page/snippets.js", SCRIPT, include_str!("demo_page/snippets.js")),
    ("/page/sse.js", SCRIPT, include_str!("demo_page/sse.js")),
    ("/page/view.js", SCRIPT, include_str!("demo_page/view.js")),
    ("/page/watch.js", SCRIPT, include_str!("demo_page/watch.js")),
];

/// The page, with the version of the hub and the address of its manual.
static INDEX: LazyLock<String> = LazyLock::new(|| {
    include_str!("demo_page/index.html")
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{repository}", env!("CARGO_PKG_REPOSITORY"))
});

/// Returns the routes of the page and of the files that it loads.
pub(super) fn routes() -> Router<Hub> {
    let index = get(|| async { file("text/html; charset=utf-8", &INDEX) });
    FILES.iter().fold(Router::new().route("/", index), |router, &(path, content_type, text)| {
        router.route(path, get(move || async move { file(content_type, text) }))
    })
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    (SAFE, [(header::CONTENT_TYPE, content_type)], text).into_response()
}
