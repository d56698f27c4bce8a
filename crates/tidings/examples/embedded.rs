//! A hub inside a service of your own: its routes beside yours, and events published from your handlers.
//!
//! ```text
//! cargo run --package tidings --example embedded
//! curl -N http://127.0.0.1:8001/api/v1/events/orders.42
//! curl -X POST http://127.0.0.1:8001/orders/42/ship
//! ```

use std::{error::Error, net::TcpListener};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use tidings::{
    Hub, Publication,
    protocol::{ChannelName, EventName},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let hub = Hub::builder().memory().build().await?;
    // Two ways: merge the hub's routes into your service, as here, or let `tidings::serve` have a port of its own.
    let service =
        Router::new().route("/orders/{id}/ship", post(ship)).with_state(hub.clone()).merge(hub.router());
    let listener = TcpListener::bind("127.0.0.1:8001")?;
    println!("watch    curl -N http://127.0.0.1:8001/api/v1/events/orders.42");
    println!("publish  curl -X POST http://127.0.0.1:8001/orders/42/ship");
    tidings::serve_with(hub, service, vec![listener]).await?;
    Ok(())
}

/// Does the work, then tells whoever watches the order.
async fn ship(State(hub): State<Hub>, Path(id): Path<u64>) -> Result<String, (StatusCode, String)> {
    let channel = ChannelName::parse(&format!("orders.{id}"))
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let name = EventName::parse("shipped").expect("a plain word is an event name");
    let event = Publication::new(channel, format!(r#"{{"order":{id}}}"#)).event(name);
    let published =
        hub.publish(event).await.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok(format!("{}\n", published.id().map(ToString::to_string).unwrap_or_default()))
}
