//! Requests that wait for their answer, over one keep-alive connection.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use tidings_load::{ResponseParser, StampCodec};

use crate::{
    event::{EVENT_BYTES, RUN, data, stamp},
    result::BenchResult,
};

/// Events of one batch when a log is filled.
pub(crate) const BATCH_EVENTS: usize = 2_000;

/// One connection.
pub(crate) struct BlockingHttp {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl BlockingHttp {
    pub(crate) fn connect(address: SocketAddr) -> BenchResult<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: vec![0; 64 << 10] })
    }

    /// Sends a request and returns the body of its answer.
    ///
    /// # Errors
    /// What went wrong on the connection, or an answer that is no success.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> BenchResult<String> {
        self.socket.write_all(&request(method, path, headers, body))?;
        let (mut answer, mut text) = (ResponseParser::default(), Vec::new());
        while !answer.is_done() {
            let count = self.socket.read(&mut self.buffer)?;
            if count == 0 {
                return Err("connection closed before the answer was whole".into());
            }
            answer.feed(&self.buffer[..count], &mut |_, bytes| text.extend_from_slice(bytes))?;
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        match answer.head() {
            Some(head) if (200..300).contains(&head.status) => Ok(text),
            _ => Err(format!("{method} {path}: {text}").into()),
        }
    }

    /// Publishes events in batches, and returns the id of the last.
    pub(crate) fn fill(&mut self, events: impl Iterator<Item = (String, u64)>) -> BenchResult<String> {
        let mut events = events.peekable();
        let (mut last, codec) = (None, StampCodec::new(RUN));
        while events.peek().is_some() {
            let mut lines = String::new();
            for (channel, number) in events.by_ref().take(BATCH_EVENTS) {
                lines += &line(&channel, &data(&codec, stamp(0, number, 0), EVENT_BYTES));
            }
            let answer = self.send("POST", "/api/v1/publish", NDJSON, lines.as_bytes())?;
            let id = answer.rsplit_once("\"id\":\"").and_then(|(_, id)| id.split_once('"'));
            last = Some(id.ok_or("publish was answered without an id")?.0.to_owned());
        }
        last.ok_or_else(|| "nothing was published".into())
    }
}

/// The header of a batch.
pub(crate) const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

/// One line of a batch.
pub(crate) fn line(channel: &str, text: &str) -> String {
    // As a string the data is sent verbatim, which keeps its length.
    let data = text.replace('"', "\\\"");
    format!("{{\"channels\":[\"{channel}\"],\"data\":\"{data}\"}}\n")
}

/// A whole request. The name `localhost` serves every address that is loopback.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}
