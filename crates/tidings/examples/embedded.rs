//! A hub inside a service of your own: its routes beside yours, events published from your handlers, and an end that loses
//! nothing.
//!
//! ```text
//! cargo run --package tidings --example embedded
//! curl -N http://127.0.0.1:8001/api/v1/events/orders.42
//! curl -X POST http://127.0.0.1:8001/orders/42/ship
//! ```

#![allow(clippy::disallowed_methods)]

use std::net::TcpListener;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use tidings::{ChannelName, Error, Hub, Publication};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = Hub::builder().memory().build().await?;
    let service =
        Router::new().route("/orders/{id}/ship", post(ship)).with_state(hub.clone()).merge(hub.router());

    let ending = hub.clone();
    tokio::spawn(async move {
        stopped().await;
        ending.shutdown().await;
    });
    let listener = TcpListener::bind("127.0.0.1:8001")?;
    println!("watch    curl -N http://127.0.0.1:8001/api/v1/events/orders.42");
    println!("publish  curl -X POST http://127.0.0.1:8001/orders/42/ship");
    tidings::serve_with(hub, service, vec![listener]).await?;
    Ok(())
}

/// Does the work, then publishes to the order's channel.
async fn ship(State(hub): State<Hub>, Path(id): Path<u64>) -> Result<String, Error> {
    let channel: ChannelName = format!("orders.{id}").parse()?;
    let event = Publication::new(channel, format!(r#"{{"order":{id}}}"#)).event("shipped".parse()?);
    let published = hub.publish(event).await?;
    Ok(format!("{}\n", published.id().map(ToString::to_string).unwrap_or_default()))
}

/// Waits for Ctrl-C, or for the signal by which systemd, Docker and Kubernetes stop a service.
async fn stopped() {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .expect("a process may hear of SIGTERM");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
