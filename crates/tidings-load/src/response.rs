//! Incremental parser of HTTP/1.1 responses: chunked, with a length, or until the connection closes.

use std::fmt;

/// Longest response head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Syntax error of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedResponse(&'static str);

impl MalformedResponse {
    /// The error in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for MalformedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for MalformedResponse {}

/// Fields of a response head that a load needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// Whether the body is `text/event-stream`.
    pub is_event_stream: bool,
    /// Whether the body is chunked.
    pub is_chunked: bool,
    /// Whether the connection can be reused.
    pub keeps_alive: bool,
}

/// Parser of the responses on one connection, one after another.
#[derive(Debug, Default)]
pub struct ResponseParser {
    state: ParserState,
    /// Start of an incomplete head.
    partial: Vec<u8>,
    head: Option<ResponseHead>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ParserState {
    #[default]
    Head,
    /// In a chunk size line: the value and digits so far, and whether an extension began.
    Size {
        value: u64,
        digits: u8,
        is_over: bool,
    },
    /// In a chunk: bytes left.
    Chunk(u64),
    /// After the CR of a chunk size line: the size.
    SizeEnd(u64),
    /// After the chunk data, before its CR.
    DataEnd,
    /// Before the LF that ends a chunk.
    ChunkEnd,
    /// After the last chunk: bytes of the current trailer line.
    Trailer(u32),
    /// Before the LF that ends the response.
    LastEnd,
    Length(u64),
    UntilClose,
    Done,
}

const SIZE: ParserState = ParserState::Size { value: 0, digits: 0, is_over: false };

impl ResponseParser {
    /// The head, once it is complete.
    #[must_use]
    pub fn head(&self) -> Option<ResponseHead> {
        self.head
    }

    /// Whether the response is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == ParserState::Done
    }

    /// Resets the parser for the next response.
    pub fn renew(&mut self) {
        self.state = ParserState::Head;
        self.partial.clear();
        self.head = None;
    }

    /// Parses the next bytes and calls `on_body` with each part of the body. Returns the bytes that belong to this
    /// response: fewer than given only if the response is complete.
    ///
    /// # Errors
    /// The bytes are no HTTP/1.1 response, or have a coding that was not requested.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        on_body: &mut impl FnMut(ResponseHead, &[u8]),
    ) -> Result<usize, MalformedResponse> {
        let mut at = 0;
        while at < bytes.len() && self.state != ParserState::Done {
            at += if self.state == ParserState::Head {
                self.take_head(&bytes[at..])?
            } else {
                self.take_body(&bytes[at..], on_body)?
            };
        }
        Ok(at)
    }

    /// Notes that the connection closed, which completes a response without a length.
    ///
    /// # Errors
    /// The response is incomplete.
    pub fn close(&mut self) -> Result<(), MalformedResponse> {
        match self.state {
            ParserState::UntilClose | ParserState::Done => {
                self.state = ParserState::Done;
                Ok(())
            }
            ParserState::Head => Err(MalformedResponse("connection closed before the response")),
            _ => Err(MalformedResponse("connection closed within the response")),
        }
    }

    fn take_head(&mut self, bytes: &[u8]) -> Result<usize, MalformedResponse> {
        let before = self.partial.len();
        self.partial.extend_from_slice(bytes);
        let searched_from = before.saturating_sub(3);
        let Some(end) = memchr::memmem::find(&self.partial[searched_from..], b"\r\n\r\n") else {
            return if self.partial.len() > HEAD_BYTES_MAX {
                Err(MalformedResponse("head is longer than 65536 bytes"))
            } else {
                Ok(bytes.len())
            };
        };
        let end = searched_from + end + 4;
        let (head, state) = read_head(&self.partial[..end - 4])?;
        self.partial = Vec::new();
        // A 1xx response is followed by the final one.
        if head.status >= 200 {
            self.head = Some(head);
            self.state = state;
        }
        Ok(end - before)
    }

    /// Parses bytes in the current state.
    fn take_body(
        &mut self,
        bytes: &[u8],
        on_body: &mut impl FnMut(ResponseHead, &[u8]),
    ) -> Result<usize, MalformedResponse> {
        let head = self.head.expect("a body follows a head");
        let first = bytes[0];
        match self.state {
            ParserState::Chunk(left) => {
                let taken = up_to(bytes, left);
                on_body(head, taken);
                let left = left - taken.len() as u64;
                self.state = if left == 0 { ParserState::DataEnd } else { ParserState::Chunk(left) };
                return Ok(taken.len());
            }
            ParserState::Length(left) => {
                let taken = up_to(bytes, left);
                on_body(head, taken);
                let left = left - taken.len() as u64;
                self.state = if left == 0 { ParserState::Done } else { ParserState::Length(left) };
                return Ok(taken.len());
            }
            ParserState::UntilClose => {
                on_body(head, bytes);
                return Ok(bytes.len());
            }
            ParserState::Size { value, digits, is_over } => self.state = size(first, value, digits, is_over)?,
            ParserState::SizeEnd(0) if first == b'\n' => self.state = ParserState::Trailer(0),
            ParserState::SizeEnd(size) if first == b'\n' => self.state = ParserState::Chunk(size),
            ParserState::DataEnd if first == b'\r' => self.state = ParserState::ChunkEnd,
            ParserState::ChunkEnd if first == b'\n' => self.state = SIZE,
            ParserState::Trailer(length) => {
                self.state = match (first, length) {
                    (b'\r', 0) => ParserState::LastEnd,
                    (b'\n', 1..) => ParserState::Trailer(0),
                    _ => ParserState::Trailer(length.saturating_add(1)),
                };
            }
            ParserState::LastEnd if first == b'\n' => self.state = ParserState::Done,
            ParserState::SizeEnd(_) | ParserState::DataEnd | ParserState::ChunkEnd | ParserState::LastEnd => {
                return Err(MalformedResponse("chunk does not end in CR LF"));
            }
            ParserState::Head | ParserState::Done => {}
        }
        Ok(1)
    }
}

fn up_to(bytes: &[u8], left: u64) -> &[u8] {
    &bytes[..usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))]
}

/// Returns the state after one more byte of a chunk size line.
fn size(byte: u8, value: u64, digits: u8, is_over: bool) -> Result<ParserState, MalformedResponse> {
    Ok(match char::from(byte).to_digit(16) {
        _ if byte == b'\r' && digits > 0 => ParserState::SizeEnd(value),
        _ if matches!(byte, b';' | b' ' | b'\t') && digits > 0 || is_over && byte != b'\n' => {
            ParserState::Size { value, digits, is_over: true }
        }
        Some(digit) if digits < 15 => {
            ParserState::Size { value: value << 4 | u64::from(digit), digits: digits + 1, is_over }
        }
        _ => return Err(MalformedResponse("chunk size is no hex number of at most 15 digits before CR LF")),
    })
}

/// Parses a head without its last line ends, and returns the state in which its body begins.
fn read_head(bytes: &[u8]) -> Result<(ResponseHead, ParserState), MalformedResponse> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let is_new = first.starts_with("HTTP/1.1 ");
    if !is_new && !first.starts_with("HTTP/1.0 ") {
        return Err(MalformedResponse("response does not begin with HTTP/1.1"));
    }
    let status = first.get(9..12).and_then(|status| status.parse().ok());
    let status: u16 = status.ok_or(MalformedResponse("response without a status"))?;
    let mut head = ResponseHead { status, is_event_stream: false, is_chunked: false, keeps_alive: is_new };
    let mut state = ParserState::UntilClose;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim().to_ascii_lowercase();
        match name.trim().to_ascii_lowercase().as_str() {
            "content-type" => head.is_event_stream = value.starts_with("text/event-stream"),
            "connection" if value.contains("close") => head.keeps_alive = false,
            "connection" if value.contains("keep-alive") => head.keeps_alive = true,
            "content-encoding" if value != "identity" => {
                return Err(MalformedResponse("body is compressed although nothing was accepted"));
            }
            "transfer-encoding" if value == "chunked" => (head.is_chunked, state) = (true, SIZE),
            "transfer-encoding" => return Err(MalformedResponse("transfer encoding is not chunked")),
            "content-length" if state != SIZE => {
                state = ParserState::Length(
                    value.parse().map_err(|_| MalformedResponse("content length is no number"))?,
                );
            }
            _ => {}
        }
    }
    if matches!(status, 204 | 304) || state == ParserState::Length(0) {
        state = ParserState::Done;
    }
    head.keeps_alive &= state != ParserState::UntilClose;
    Ok((head, state))
}

#[cfg(test)]
mod tests;
