//! A hub inside a service that runs on `axum::serve`, with a stream that a handler of its own opens.
//!
//! ```text
//! cargo run --package tidings --example axum_serve
//! curl -N http://127.0.0.1:8001/ticks
//! ```

#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use axum::{Router, extract::State, http::HeaderMap, routing::get};
use tidings::{Error, EventBody, Hub, Publication, Start, StreamOptions};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = Hub::builder().memory().build().await?;
    let service = Router::new().route("/ticks", get(ticks)).with_state(hub.clone()).merge(hub.router());
    tokio::spawn(tick(hub.clone()));

    let listener = TcpListener::bind("127.0.0.1:8001").await?;
    println!("watch    curl -N http://127.0.0.1:8001/ticks");
    axum::serve(listener, service)
        .with_graceful_shutdown(async move {
            let _ = tokio::signal::ctrl_c().await;
            // Ends the streams; axum waits for open connections, and would wait for ever otherwise.
            hub.shutdown().await;
        })
        .await?;
    Ok(())
}

/// Answers with a stream, after checks of your own. The hub's routes check the rights in `[auth]`; this one checks nothing.
async fn ticks(State(hub): State<Hub>, headers: HeaderMap) -> Result<EventBody, Error> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let start = last.map_or(Start::Now, |id| Start::After(id.to_owned()));
    hub.body(["ticks"], &StreamOptions { start, ..StreamOptions::default() })
}

/// Publishes each second, until the hub ends.
async fn tick(hub: Hub) -> Result<(), Error> {
    for number in 0_u64.. {
        hub.publish(Publication::new("ticks".parse()?, number.to_string())).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
