//! Reads with eventsource-client, which reconnects by itself; the application continues after an error.

use eventsource_client::{Client, ClientBuilder, SSE};
use futures_util::StreamExt as _;
use launchdarkly_sdk_transport::HyperTransport;
use tidings_client_matrix::{event, fault, open, url};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let transport = HyperTransport::builder().build_http().expect("a transport");
    let client = ClientBuilder::for_url(&url()).expect("a URL").build_with_transport(transport);
    let mut stream = client.stream();
    while let Some(next) = stream.next().await {
        match next {
            Ok(SSE::Connected(_)) => open(),
            Ok(SSE::Event(message)) => event(&message.event_type, &message.data, message.id.as_deref()),
            Ok(SSE::Comment(_)) => {}
            Err(error) => fault(error),
        }
    }
}
