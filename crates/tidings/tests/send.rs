//! Every future of the crate goes to `tokio::spawn`, and every shared type is shared between threads. To compile is to pass.

use std::net::TcpListener;

use axum::Router;
use tidings::{EventStream, Hub, HubBuilder, Publication, config::Settings};

const fn send<T: Send>() {}
const fn shared<T: Send + Sync>() {}

const _: () = {
    shared::<Hub>();
    send::<HubBuilder>();
    send::<EventStream>();
};

fn sent<T: Send>(_: T) {}

/// Names every public `async fn`; it is compiled and never called.
#[expect(dead_code)]
fn futures_are_send(hub: &Hub, publication: Publication, settings: Settings, listeners: Vec<TcpListener>) {
    sent(Hub::builder().build());
    sent(hub.publish(publication));
    sent(hub.shutdown());
    sent(hub.closed());
    sent(hub.reload(settings));
    sent(tidings::serve_with(hub.clone(), Router::new(), Vec::new()));
    sent(tidings::serve(hub.clone(), listeners));
}
