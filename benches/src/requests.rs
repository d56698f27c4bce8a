//! Requests on the hub's routes, and the filling of a log.

use std::net::SocketAddr;

use tidings_load::StampCodec;
use tidings_testkit::HttpConnection;

use crate::{
    event::{EVENT_BYTES, RUN, data, stamp},
    result::BenchResult,
};

/// Events of one batch that fills a log.
const BATCH_EVENTS: usize = 2_000;

/// Header of a batch.
pub(crate) const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

/// Publishes numbered events to channels in batches, and returns the id of the last one.
pub(crate) fn fill(
    address: SocketAddr,
    events: impl IntoIterator<Item = (String, u64)>,
) -> BenchResult<String> {
    let mut connection = HttpConnection::connect(&address.to_string());
    let (codec, mut last_id, mut events) = (StampCodec::new(RUN), None, events.into_iter().peekable());
    while events.peek().is_some() {
        let batch = events.by_ref().take(BATCH_EVENTS);
        let lines: String = batch
            .map(|(channel, number)| line(&channel, &data(&codec, stamp(0, number, 0), EVENT_BYTES)))
            .collect();
        connection.send(request("POST", "/api/v1/publish", NDJSON, lines.as_bytes()));
        let ids = connection.read_response().assert_status(200).json();
        last_id = ids.as_array().and_then(|ids| Some(ids.last()?["id"].as_str()?.to_owned()));
    }
    Ok(last_id.ok_or("publish was answered without an id")?)
}

/// One line of a batch. Data within a JSON string is sent verbatim, so it keeps its length.
pub(crate) fn line(channel: &str, data: &str) -> String {
    let data = data.replace('"', "\\\"");
    format!("{{\"channels\":[\"{channel}\"],\"data\":\"{data}\"}}\n")
}

/// A request with `Host: localhost`, which is valid at every loopback address.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}
