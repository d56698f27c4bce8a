//! The two ways on which a stream leaves a hub, so that a test can ask for the same on both.

use std::io::Read;

use tidings_testkit::HttpConnection;

use crate::hub::TestHub;

/// What a stream is served by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A shard, which owns the socket: where the first request of a connection is a plain one for a stream.
    Shard,
    /// hyper: a connection on which something else was asked for before stays with it.
    Hyper,
}

pub(crate) const WAYS: [Way; 2] = [Way::Shard, Way::Hyper];

impl Way {
    /// A connection whose next request goes this way.
    pub(crate) fn connect(self, hub: &TestHub) -> HttpConnection {
        let mut connection = hub.connect();
        if self == Self::Hyper {
            connection.send(hub.encode_request("HEAD", "/healthz", &[], b""));
            assert_eq!(connection.read_head().status, 200);
        }
        connection
    }

    /// Asks for a stream.
    pub(crate) fn ask(self, hub: &TestHub, path: &str, headers: &[(&str, &str)]) -> HttpConnection {
        let mut connection = self.connect(hub);
        connection.send(hub.encode_request("GET", path, headers, b""));
        connection
    }
}

/// A stream, or whatever else the answer is, with what differs from one to the next taken out.
pub(crate) struct Told {
    pub(crate) connection: HttpConnection,
    /// The head but for its date, with the connection's name left out.
    pub(crate) head: String,
    /// What was read of the body, as it came.
    body: Vec<u8>,
    is_at_end: bool,
}

impl Told {
    /// Reads the head.
    #[track_caller]
    pub(crate) fn by(mut connection: HttpConnection) -> Self {
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
    pub(crate) fn until(&mut self, text: &str) {
        let mut looked_at = 0;
        while !self.body[looked_at..].windows(text.len()).any(|window| window == text.as_bytes()) {
            looked_at = self.body.len().saturating_sub(text.len());
            assert!(self.more(), "the end came before {text:?}: {}", String::from_utf8_lossy(&self.body));
        }
    }

    /// Reads to the end of the body, and answers all of it.
    pub(crate) fn whole(&mut self) -> String {
        while self.more() {}
        self.body()
    }

    /// What was read of the body.
    pub(crate) fn body(&self) -> String {
        let text = std::str::from_utf8(&self.body).expect("a body is UTF-8");
        let mut is_end = false;
        let lines = text.split('\n').map(|line| {
            let mut line = line.to_owned();
            // Nothing wakes a stream for events of others: how far it has looked when it ends is by chance.
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

    /// Whether the hub has closed the connection behind this answer, or still serves it.
    pub(crate) fn is_last(&mut self, hub: &TestHub) -> bool {
        let request = hub.encode_request("HEAD", "/healthz", &[], b"");
        let is_sent = std::io::Write::write_all(&mut self.connection.socket, &request).is_ok();
        let mut bytes = [0; 15];
        let is_read = is_sent && self.connection.socket.read_exact(&mut bytes).is_ok();
        assert!(!is_read || &bytes == b"HTTP/1.1 200 OK", "{}", String::from_utf8_lossy(&bytes));
        !is_read
    }
}

/// Asks for the same on both ways.
#[track_caller]
pub(crate) fn both(hub: &TestHub, path: &str, headers: &[(&str, &str)]) -> [Told; 2] {
    let told = WAYS.map(|way| Told::by(way.ask(hub, path, headers)));
    assert_eq!(told[0].head, told[1].head, "{path} {headers:?}");
    told
}

/// Fails unless both were told the same to their ends; answers what.
#[track_caller]
pub(crate) fn same_to_the_end(what: &str, told: &mut [Told; 2]) -> String {
    let [one, other] = told.each_mut().map(Told::whole);
    assert_eq!(one, other, "{what}");
    one
}
