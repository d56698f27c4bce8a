//! Every future of the crate goes to `tokio::spawn`, and every shared type is shared between threads. The test is that this file compiles.

use std::net::TcpListener;

use axum::Router;
use tidings::config::Settings;
use tidings::{Error, EventBody, EventStream, HistoryRequest, Hub, HubBuilder, Publication, PublishOutcome};

const fn send<T: Send>() {}
const fn shared<T: Send + Sync>() {}

const _: () = {
    shared::<Hub>();
    shared::<Error>();
    shared::<PublishOutcome>();
    shared::<Settings>();
    send::<HubBuilder>();
    send::<EventStream>();
    send::<EventBody>();
};

fn sent<T: Send>(_: T) {}

/// Uses every public `async fn`; compiled and never called.
#[expect(dead_code)]
fn futures_are_send(
    hub: &Hub,
    publication: Publication,
    request: HistoryRequest,
    events: &mut EventStream,
    listeners: Vec<TcpListener>,
) {
    sent(Hub::builder().build());
    sent(hub.publish(publication));
    sent(hub.history(request));
    sent(events.next());
    sent(hub.shutdown());
    sent(hub.closed());
    sent(tidings::serve_with(hub.clone(), Router::new(), Vec::new()));
    sent(tidings::serve(hub.clone(), listeners));
}
