//! The two transports of a stream over HTTP/1.1, so that a test can compare them.

use std::io::Read;

use crate::prelude::*;

/// Transport of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A shard, which owns the socket: if the first request of a connection is a plain request for a stream.
    Shard,
    /// hyper: a connection that began with another request stays with it.
    Hyper,
}

pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::Shard, Transport::Hyper];

impl Transport {
    /// Opens a connection whose next request uses this transport.
    pub(crate) fn connect(self, hub: &TestHub) -> HttpConnection {
        let mut connection = hub.connect();
        if self == Self::Hyper {
            connection.send(hub.encode_request("HEAD", "/healthz", &[], b""));
            assert_eq!(connection.read_head().status, 200);
        }
        connection
    }

    /// Requests a stream.
    pub(crate) fn ask(self, hub: &TestHub, path: &str, headers: &[(&str, &str)]) -> HttpConnection {
        let mut connection = self.connect(hub);
        connection.send(hub.encode_request("GET", path, headers, b""));
        connection
    }
}

/// A stream, or any other response, without the values that differ between responses.
pub(crate) struct StreamTranscript {
    pub(crate) connection: HttpConnection,
    /// The head without its date, and with a placeholder for the connection id.
    pub(crate) head: String,
    /// Bytes of the body so far.
    body: Vec<u8>,
    is_at_end: bool,
}

impl StreamTranscript {
    /// Reads the head.
    #[track_caller]
    pub(crate) fn read(mut connection: HttpConnection) -> Self {
        let head = connection.read_raw_head();
        let lines = head.split("\r\n").filter(|line| !line.starts_with("date: "));
        let lines = lines.map(|line| match line.strip_prefix("tidings-connection: ") {
            Some(id) => {
                assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
                "tidings-connection: ID"
            }
            None => line,
        });
        let head = lines.collect::<Vec<_>>().join("\n");
        Self { connection, head, body: Vec::new(), is_at_end: false }
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.head.lines().next().is_some_and(|line| line.ends_with(" 200 OK"))
            && self.has("content-type: text/event-stream; charset=utf-8")
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.head.lines().any(|other| other == line)
    }

    /// Reads until the body holds the text.
    #[track_caller]
    pub(crate) fn read_through(&mut self, text: &str) {
        let mut searched = 0;
        while !self.body[searched..].windows(text.len()).any(|window| window == text.as_bytes()) {
            searched = self.body.len().saturating_sub(text.len());
            assert!(self.more(), "the body ended before {text:?}: {}", String::from_utf8_lossy(&self.body));
        }
    }

    /// Reads to the end of the body, and returns all of it.
    pub(crate) fn read_to_end(&mut self) -> String {
        while self.more() {}
        self.body()
    }

    /// The body so far, with placeholders.
    pub(crate) fn body(&self) -> String {
        let text = std::str::from_utf8(&self.body).expect("a body is UTF-8");
        let mut is_end = false;
        let lines = text.split('\n').map(|line| {
            let mut line = line.to_owned();
            // Events of other channels do not wake a stream: its position at the end depends on timing.
            is_end |= line == "event: tidings.end";
            if is_end && line.starts_with("id: ") {
                "id: END".clone_into(&mut line);
            }
            if line.starts_with("retry: ") {
                "retry: N".clone_into(&mut line);
            }
            for (member, length, name) in
                [("connectionId", 32, "ID"), ("now", 24, "NOW"), ("node", 16, "NODE")]
            {
                if let Some(at) = line.find(&format!("\"{member}\":\"")) {
                    let start = at + member.len() + 4;
                    line.replace_range(start..start + length, name);
                }
            }
            line
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn more(&mut self) -> bool {
        if self.is_at_end {
            return false;
        }
        let portion = if self.has("transfer-encoding: chunked") {
            self.connection.read_chunk()
        } else if let Some(length) = self.head.lines().find_map(|line| line.strip_prefix("content-length: "))
        {
            self.is_at_end = true;
            self.connection.read_exact(length.parse().unwrap())
        } else {
            self.connection.read_some()
        };
        self.is_at_end |= portion.is_none();
        self.body.extend(portion.unwrap_or_default());
        !self.is_at_end
    }

    /// Whether the hub has closed the connection after this response.
    pub(crate) fn is_closed_after_response(&mut self, hub: &TestHub) -> bool {
        let request = hub.encode_request("HEAD", "/healthz", &[], b"");
        let is_sent = std::io::Write::write_all(&mut self.connection.socket, &request).is_ok();
        let mut bytes = [0; 15];
        let is_read = is_sent && self.connection.socket.read_exact(&mut bytes).is_ok();
        assert!(!is_read || &bytes == b"HTTP/1.1 200 OK", "{}", String::from_utf8_lossy(&bytes));
        !is_read
    }
}

/// Sends the same request over both transports.
#[track_caller]
pub(crate) fn request_both(hub: &TestHub, path: &str, headers: &[(&str, &str)]) -> [StreamTranscript; 2] {
    let transcripts = TRANSPORTS.map(|transport| StreamTranscript::read(transport.ask(hub, path, headers)));
    assert_eq!(transcripts[0].head, transcripts[1].head, "{path} {headers:?}");
    transcripts
}

/// Asserts that both bodies are the same to their ends, and returns them.
#[track_caller]
pub(crate) fn assert_same_body(name: &str, transcripts: &mut [StreamTranscript; 2]) -> String {
    let [one, other] = transcripts.each_mut().map(StreamTranscript::read_to_end);
    assert_eq!(one, other, "{name}");
    one
}
