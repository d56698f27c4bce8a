//! HTTP/1.1 as bytes on a socket, as a client sees it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::DEADLINE;

/// A client's connection.
#[derive(Debug)]
pub struct HttpConnection {
    /// The socket, for tests that write or shut down by themselves.
    pub socket: TcpStream,
    /// Bytes that were read from the socket and not yet returned.
    pending: Vec<u8>,
}

impl HttpConnection {
    /// Connects to a host and port.
    #[track_caller]
    pub fn connect(authority: &str) -> Self {
        Self::from_socket(TcpStream::connect(authority).unwrap())
    }

    /// Reads and writes over a connected socket.
    pub fn from_socket(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, pending: Vec::new() }
    }
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a request and reads the response.
    #[track_caller]
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> HttpResponse {
        self.send(request);
        self.read_response()
    }

    /// Reads the head of a response.
    #[track_caller]
    pub fn read_head(&mut self) -> HttpHead {
        HttpHead::parse(&self.read_raw_head())
    }

    /// Reads the head of a response, unparsed.
    #[track_caller]
    pub fn read_raw_head(&mut self) -> String {
        String::from_utf8(self.read_through(b"\r\n\r\n").expect("the connection ended within a head"))
            .unwrap()
    }

    /// Reads one chunk; `None` is the last chunk, or the end of the connection.
    #[track_caller]
    pub fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.read_through(b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
        let mut chunk = self.read_exact(size + 2)?;
        assert_eq!(chunk.split_off(size), b"\r\n");
        (size > 0).then_some(chunk)
    }

    /// Reads the bytes that come first; `None` at the end of the connection.
    #[track_caller]
    pub fn read_some(&mut self) -> Option<Vec<u8>> {
        if self.pending.is_empty() && !self.fill() {
            return None;
        }
        Some(std::mem::take(&mut self.pending))
    }

    /// Reads to the end of the connection.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.pending)
    }

    /// Reads this many bytes; `None` if the connection ends before.
    #[track_caller]
    pub fn read_exact(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.pending.len() < bytes {
            if !self.fill() {
                return None;
            }
        }
        Some(self.pending.drain(..bytes).collect())
    }

    /// Reads a whole response. A body without a length is read to the end of the connection.
    #[track_caller]
    pub fn read_response(&mut self) -> HttpResponse {
        let head = self.read_head();
        let body = self.read_body(&head);
        HttpResponse { head, body }
    }

    /// Reads the body that follows this head. A body without a length is read to the end of the connection.
    #[track_caller]
    pub fn read_body(&mut self, head: &HttpHead) -> Vec<u8> {
        if head.is_chunked() {
            std::iter::from_fn(|| self.read_chunk()).flatten().collect()
        } else if let Some(length) = head.content_length() {
            self.read_exact(length).expect("the connection ended within a body")
        } else if head.status == 204 {
            Vec::new()
        } else {
            self.read_to_end()
        }
    }

    fn read_through(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.pending.windows(end.len()).position(|window| window == end) {
                return Some(self.pending.drain(..at + end.len()).collect());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Reads once; false at the end of the connection.
    #[track_caller]
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(bytes) => {
                    self.pending.extend_from_slice(&buffer[..bytes]);
                    return bytes > 0;
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
                // A signal came to the process of the tests.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    panic!("no bytes: {error}; pending: {:?}", String::from_utf8_lossy(&self.pending))
                }
            }
        }
    }
}

/// The head of a response.
#[derive(Debug, Clone)]
pub struct HttpHead {
    pub status: u16,
    /// Names in lower case, with their values.
    pub headers: Vec<(String, String)>,
}

impl HttpHead {
    /// Parses a status line and header lines. Panics if they are malformed.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("not a header: {line:?}")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self { status, headers }
    }

    /// Returns the first value of a header; its name is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
    pub fn is_chunked(&self) -> bool {
        self.header("transfer-encoding") == Some("chunked")
    }
    pub fn content_length(&self) -> Option<usize> {
        self.header("content-length").map(|length| length.parse().unwrap())
    }
}

/// A whole response.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    pub head: HttpHead,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl HttpResponse {
    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// Returns the value of a metric, with its labels as they are written; 0 if the metric is absent.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// Returns the data of the events of a history page. Panics unless the status is 200.
    #[track_caller]
    pub fn event_data(&self) -> Vec<String> {
        let page = self.assert_status(200).json();
        let data = page["events"].as_array().unwrap().iter().map(|event| event["data"].as_str().unwrap());
        data.map(str::to_owned).collect()
    }
    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.head.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// Asserts that the response is a problem document (RFC 9457) with this status and code.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) -> &Self {
        self.assert_status(status);
        assert_eq!(self.head.header("content-type"), Some("application/problem+json"));
        let json = self.json();
        assert_eq!(json["code"], code, "{json}");
        assert_eq!(json["status"], status, "{json}");
        assert!(json["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{json}");
        self
    }

    /// Asserts that the response refuses access without a reason.
    #[track_caller]
    pub fn assert_access_denied(&self) {
        assert_eq!(self.assert_problem(403, "access_denied").json()["detail"], "Access denied");
    }
}
