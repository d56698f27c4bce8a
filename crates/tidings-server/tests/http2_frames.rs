//! HTTP/2 frames as bytes on a socket, valid or not.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;

use crate::prelude::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Kinds of frames, flags and codes. Source: RFC 9113, 6 and 7.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A text without compression. Source: RFC 7541, 5.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len().min(127)).unwrap()];
    if let Some(mut rest) = text.len().checked_sub(127) {
        while rest > 127 {
            bytes.push(0x80 | (rest % 128) as u8);
            rest /= 128;
        }
        bytes.push(rest as u8);
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The header block of a `GET`, with literal values. Source: RFC 7541, 6.2.2.
pub(crate) fn get(hub: &TestHub, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    const METHOD_GET: u8 = 0x82;
    const SCHEME_HTTP: u8 = 0x86;
    const AUTHORITY: u8 = 1;
    const PATH: u8 = 4;
    let mut block = vec![METHOD_GET, SCHEME_HTTP, AUTHORITY];
    block.extend(text(hub.authority()));
    block.push(PATH);
    block.extend(text(path));
    for (name, value) in headers {
        block.extend([&[0], &*text(name), &*text(value)].concat());
    }
    block
}

/// A request whose head ends the stream.
pub(crate) fn request(hub: &TestHub, stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(hub, path, &[]))
}

pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

pub(crate) fn stream_id(nth: usize) -> u32 {
    u32::try_from(nth).unwrap() * 2 + 1
}

/// A client that sends frames as they are given, valid or not.
pub(crate) struct RawHttp2Client(TcpStream);

impl RawHttp2Client {
    pub(crate) fn connect(hub: &TestHub) -> Self {
        let mut socket = TcpStream::connect(hub.authority()).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(PREFACE).unwrap();
        socket.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        Self(socket)
    }

    /// Sends bytes; returns whether the hub still accepted them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        match self.0.write_all(bytes) {
            Ok(()) => true,
            Err(error) => {
                let kind = error.kind();
                assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
                false
            }
        }
    }

    /// Reads one frame; `None` at the end of the connection.
    pub(crate) fn read(&mut self) -> Option<Http2Frame> {
        let mut head = [0; 9];
        match self.0.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no further frame"),
            Err(_) => return None,
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Http2Frame { kind: head[3], stream, payload })
    }

    /// Reads to the end of the connection in a thread; returns the error code of `GOAWAY`.
    pub(crate) fn go_away_code(&self) -> JoinHandle<Option<u32>> {
        let mut reader = Self(self.0.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut code = None;
            while let Some(frame) = reader.read() {
                if frame.kind == GOAWAY {
                    code = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
                }
            }
            code
        })
    }

    /// Sends a request on this stream and waits for the response: by then the hub has processed every earlier stream.
    pub(crate) fn wait_for_response(&mut self, hub: &TestHub, stream: u32) {
        assert!(self.send(&request(hub, stream, "/healthz")));
        while let Some(frame) = self.read() {
            assert_ne!(frame.kind, GOAWAY, "{}", String::from_utf8_lossy(&frame.payload));
            if (frame.kind, frame.stream) == (HEADERS, stream) {
                return;
            }
        }
        panic!("the connection ended");
    }
}

pub(crate) struct Http2Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}
