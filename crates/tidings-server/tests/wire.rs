//! HTTP/1.1 as bytes on a socket, so that a test sees what a client sees.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::process::Hub;

/// How long a test waits for bytes before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection to a hub.
pub(crate) struct Wire {
    pub(crate) socket: TcpStream,
    /// Bytes that were read and not yet used.
    pending: Vec<u8>,
}

impl Wire {
    pub(crate) fn connect(hub: &Hub) -> Self {
        Self::over(TcpStream::connect(hub.authority()).unwrap())
    }

    pub(crate) fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, pending: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads the head of an answer.
    pub(crate) fn head(&mut self) -> Head {
        let head = self.through(b"\r\n\r\n").expect("the connection ended within a head");
        Head::parse(std::str::from_utf8(&head).unwrap())
    }

    /// Reads the head of an answer as it came.
    pub(crate) fn raw_head(&mut self) -> String {
        String::from_utf8(self.through(b"\r\n\r\n").expect("the connection ended within a head")).unwrap()
    }

    /// Reads one chunk; none at the last one.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.through(b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
        let mut chunk = self.exactly(size + 2)?;
        assert_eq!(chunk.split_off(size), b"\r\n");
        (size > 0).then_some(chunk)
    }

    /// Reads whatever comes; none at the end.
    pub(crate) fn some(&mut self) -> Option<Vec<u8>> {
        if self.pending.is_empty() && !self.fill() {
            return None;
        }
        Some(std::mem::take(&mut self.pending))
    }

    /// Reads to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.pending)
    }

    /// Reads a whole answer of known length, and leaves the connection for the next.
    pub(crate) fn answer(&mut self) -> Answer {
        let head = self.head();
        let body = self.body_of(&head);
        Answer { head, body }
    }

    /// Reads the body of known length that follows a head.
    pub(crate) fn body_of(&mut self, head: &Head) -> Vec<u8> {
        let length = head.header("content-length").map_or(0, |length| length.parse().unwrap());
        self.exactly(length).expect("the connection ended within a body")
    }

    pub(crate) fn exactly(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.pending.len() < bytes {
            if !self.fill() {
                return None;
            }
        }
        Some(self.pending.drain(..bytes).collect())
    }

    /// Reads through the first `end`.
    fn through(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.pending.windows(end.len()).position(|window| window == end) {
                return Some(self.pending.drain(..at + end.len()).collect());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.socket.read(&mut buffer) {
            Ok(bytes) => {
                self.pending.extend_from_slice(&buffer[..bytes]);
                bytes > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("no bytes: {error}; pending {:?}", String::from_utf8_lossy(&self.pending)),
        }
    }
}

/// The head of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &str) -> Self {
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no header: {line:?}")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self { status, headers }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The value of a metric, with its labels as they are written; 0 where it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Fails unless this is a problem document with this status and code.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.head.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.head.header("content-type"), Some("application/problem+json"));
        let json = self.json();
        assert_eq!(json["code"], code, "{json}");
        assert_eq!(json["status"], status, "{json}");
        assert!(json["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{json}");
        self
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.head.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

impl Hub {
    /// Sends a request as it is, on a connection of its own.
    pub(crate) fn raw(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut wire = Wire::connect(self);
        wire.send(request);
        let head = wire.head();
        let body = if head.header("transfer-encoding").is_some() {
            std::iter::from_fn(|| wire.chunk()).flatten().collect()
        } else if let Some(length) = head.header("content-length") {
            wire.exactly(length.parse().unwrap()).expect("the connection ended within a body")
        } else if head.status == 204 {
            Vec::new()
        } else {
            wire.rest()
        };
        Answer { head, body }
    }

    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.raw(self.head_of(method, path, headers, body))
    }

    /// The bytes of a request.
    pub(crate) fn head_of(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request += &format!("Host: {}\r\n", self.authority());
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if method == "POST" {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut request = (request + "\r\n").into_bytes();
        request.extend_from_slice(body);
        request
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.request("POST", path, &[], body.as_ref())
    }

    /// Publishes to one channel and answers the id.
    #[track_caller]
    pub(crate) fn publish(&self, channel: &str, data: impl AsRef<[u8]>) -> String {
        let answer = self.post(&format!("/api/v1/events/{channel}"), data);
        answer.is(200).json()["id"].as_str().expect("a stored event has an id").to_owned()
    }

    /// Publishes JSON messages as one batch and answers their ids.
    #[track_caller]
    pub(crate) fn publish_batch(&self, messages: impl IntoIterator<Item = Value>) -> Vec<String> {
        let lines: Vec<String> = messages.into_iter().map(|message| format!("{message}\n")).collect();
        let answer = self.request(
            "POST",
            "/api/v1/publish",
            &[("Content-Type", "application/x-ndjson")],
            lines.concat().as_bytes(),
        );
        let answers = answer.is(200).json();
        answers
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// How many connections the hub counts for a channel or pattern.
    pub(crate) fn connections(&self, channel: &str) -> u64 {
        let list = self.get("/api/v1/channels").is(200).json();
        let of = list["channels"].as_array().unwrap().iter().find(|it| it["channel"] == channel);
        of.map_or(0, |it| it["connections"].as_u64().unwrap())
    }

    /// The value of a metric, with its labels as they are written; 0 where it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.get("/metrics").is(200).metric(name)
    }

    /// Fails unless the hub still takes and delivers events.
    #[track_caller]
    pub(crate) fn is_healthy(&self) {
        self.get("/readyz").is(200);
        let mut reader = self.subscribe("/api/v1/events/health.check");
        self.publish("health.check", "well");
        assert_eq!(reader.data(), "well");
    }
}
