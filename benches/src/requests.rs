//! Requests on the hub's routes, and the filling of a log.

use std::net::SocketAddr;

use tidings_load::{Stamp, StampCodec};
use tidings_testkit::HttpConnection;

use crate::result::BenchResult;

/// Bytes of an event's data, unless a benchmark sets another size.
pub(crate) const EVENT_BYTES: usize = 64;
/// Run number of all events: one fleet reads what another one stored.
pub(crate) const RUN: u32 = 0x7161_5d09;

/// Events of one batch that fills a log.
const FILL_BATCH: usize = 2_000;

/// Header of an event.
pub(crate) const JSON: &str = "Content-Type: application/json\r\n";
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
        let mut lines = String::new();
        for (channel, number) in events.by_ref().take(FILL_BATCH) {
            let stamp = Stamp { channel: 0, producer: 0, number: u32::try_from(number)?, micros: 0 };
            let mut data = Vec::with_capacity(EVENT_BYTES);
            codec.write(stamp, EVENT_BYTES, &mut data);
            lines += &line(&channel, &String::from_utf8(data)?);
        }
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
