//! Reads with reqwest-eventsource, which reconnects by itself with the last id.

use futures_util::StreamExt as _;
use reqwest_eventsource::{Event, EventSource};
use tidings_client_matrix::{event, fault, open, url};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut source = EventSource::get(url());
    while let Some(next) = source.next().await {
        match next {
            Ok(Event::Open) => open(),
            Ok(Event::Message(message)) => event(&message.event, &message.data, Some(&message.id)),
            Err(error) => fault(error),
        }
    }
}
