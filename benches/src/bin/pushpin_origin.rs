//! The backend behind Pushpin: its responses make Pushpin hold every stream, on the channel that ends the path.

use axum::{Router, extract::Path, routing::get};

async fn hold(Path(channel): Path<String>) -> ([(&'static str, String); 3], &'static str) {
    let headers = [
        ("content-type", "text/event-stream".to_owned()),
        ("grip-hold", "stream".to_owned()),
        ("grip-channel", channel),
    ];
    // Pushpin sends no head before the first byte of the body.
    (headers, ":\n\n")
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".into());
    let router = Router::new().route("/api/v1/events/{channel}", get(hold));
    axum::serve(tokio::net::TcpListener::bind(address).await?, router).await
}
