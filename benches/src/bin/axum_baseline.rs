//! The axum baseline: `axum` with one `tokio::sync::broadcast` per channel. No ids, no resume, no disk; a subscriber
//! that is more than 1,024 events behind loses them silently.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures_util::{Stream, stream::unfold};
use tokio::sync::broadcast::{Sender, channel, error::RecvError};

type BroadcastChannels = Arc<Mutex<HashMap<String, Sender<String>>>>;

fn sender(channels: &BroadcastChannels, name: String) -> Sender<String> {
    let mut channels = channels.lock().unwrap_or_else(PoisonError::into_inner);
    channels.entry(name).or_insert_with(|| channel(1024).0).clone()
}

async fn publish(State(channels): State<BroadcastChannels>, Path(name): Path<String>, body: String) {
    let _ = sender(&channels, name).send(body);
}

async fn subscribe(
    State(channels): State<BroadcastChannels>,
    Path(name): Path<String>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = unfold(sender(&channels, name).subscribe(), |mut events| async {
        loop {
            match events.recv().await {
                Ok(data) => return Some((Ok(Event::default().data(data)), events)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".into());
    let router = Router::new()
        .route("/api/v1/events/{channel}", get(subscribe).post(publish))
        .with_state(BroadcastChannels::default());
    axum::serve(tokio::net::TcpListener::bind(address).await?, router).await
}
