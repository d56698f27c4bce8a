//! Requests that wait for their answer, over one keep-alive connection.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::{Outcome, event::Event};

/// Events of one batch when a log is filled.
pub(crate) const BATCH_EVENTS: usize = 2_000;

/// One connection.
pub(crate) struct Http {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Outcome<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: Vec::new() })
    }

    /// Sends a request and returns the body of its answer.
    ///
    /// # Errors
    /// What went wrong on the connection, or an answer that is not 200.
    pub(crate) fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Outcome<String> {
        self.socket.write_all(&request(method, path, headers, body))?;
        self.buffer.clear();
        loop {
            let mut bytes = [0; 64 << 10];
            let count = self.socket.read(&mut bytes)?;
            if count == 0 {
                return Err("connection closed before the answer was whole".into());
            }
            self.buffer.extend_from_slice(&bytes[..count]);
            if let Some(answer) = Answer::read(&self.buffer)? {
                let body = String::from_utf8_lossy(&self.buffer[answer.body]).into_owned();
                return if answer.status == 200 {
                    Ok(body)
                } else {
                    Err(format!("{method} {path}: {body}").into())
                };
            }
        }
    }

    /// Publishes events in batches, and returns the id of the last.
    pub(crate) fn fill(&mut self, events: impl Iterator<Item = (String, u64)>) -> Outcome<String> {
        let mut events = events.peekable();
        let mut last = None;
        while events.peek().is_some() {
            let mut lines = String::new();
            for (channel, number) in events.by_ref().take(BATCH_EVENTS) {
                lines += &line(&channel, Event { source: 0, number, time: 0 });
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
pub(crate) fn line(channel: &str, event: Event) -> String {
    // As a string the data is sent verbatim, which keeps its length.
    let data = event.text().replace('"', "\\\"");
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

/// Where the parts of an answer are.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: std::ops::Range<usize>,
}

impl Answer {
    /// Reads an answer with a known length; none while it is not whole.
    pub(crate) fn read(bytes: &[u8]) -> Outcome<Option<Self>> {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&bytes[..end])?;
        let status = head.get(9..12).ok_or("answer without a status")?.parse()?;
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
        let body = end + 4..end + 4 + length;
        Ok((bytes.len() >= body.end).then_some(Self { status, body }))
    }
}
