//! Incremental parser of HTTP/1.1 responses: chunked, with a length, or until the connection closes.

use std::fmt;

/// Longest response head, or line of a chunked body.
const HEAD_BYTES_MAX: usize = 64 << 10;

const CHUNK_END: MalformedResponse = MalformedResponse("chunk does not end in CR LF");

/// Syntax error of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedResponse(pub &'static str);

impl fmt::Display for MalformedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for MalformedResponse {}

/// Fields of a response head that a load needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHead {
    pub status: u16,
    /// Whether the body is `text/event-stream`.
    pub is_event_stream: bool,
    pub is_chunked: bool,
    /// Whether the connection can be reused.
    pub keeps_alive: bool,
}

/// Parser of the responses on one connection, one after another.
#[derive(Debug, Default)]
pub struct ResponseParser {
    state: ParserState,
    /// Start of an incomplete head or line.
    partial: Vec<u8>,
    head: Option<ResponseHead>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ParserState {
    #[default]
    Head,
    /// In a line with the size of a chunk.
    Size,
    /// In a chunk: bytes left.
    Chunk(u64),
    /// In the line end after a chunk.
    ChunkEnd,
    /// After the last chunk.
    Trailer,
    /// In a body of known length: bytes left.
    Length(u64),
    UntilClose,
    Done,
}

impl ResponseParser {
    /// The head, once it is complete.
    pub fn head(&self) -> Option<ResponseHead> {
        self.head
    }

    /// Whether the response is complete.
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
            let rest = &bytes[at..];
            at += match self.state {
                ParserState::Head => self.take_head(rest)?,
                ParserState::Size | ParserState::ChunkEnd | ParserState::Trailer => self.take_line(rest)?,
                ParserState::Chunk(left) | ParserState::Length(left) => self.take_data(rest, left, on_body),
                ParserState::UntilClose | ParserState::Done => self.take_data(rest, u64::MAX, on_body),
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
            ParserState::UntilClose | ParserState::Done => self.state = ParserState::Done,
            ParserState::Head => return Err(MalformedResponse("connection closed before the response")),
            _ => return Err(MalformedResponse("connection closed within the response")),
        }
        Ok(())
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

    /// Takes bytes of the body, of which `left` are still to come.
    fn take_data(&mut self, bytes: &[u8], left: u64, on_body: &mut impl FnMut(ResponseHead, &[u8])) -> usize {
        let count = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        on_body(self.head.expect("a body follows a head"), &bytes[..count]);
        let left = left - count as u64;
        self.state = match self.state {
            ParserState::Chunk(_) if left == 0 => ParserState::ChunkEnd,
            ParserState::Chunk(_) => ParserState::Chunk(left),
            ParserState::Length(_) if left == 0 => ParserState::Done,
            ParserState::Length(_) => ParserState::Length(left),
            state => state,
        };
        count
    }

    /// Takes bytes through the end of the line.
    fn take_line(&mut self, bytes: &[u8]) -> Result<usize, MalformedResponse> {
        let end = memchr::memchr(b'\n', bytes).map(|end| end + 1);
        self.partial.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        if self.partial.len() > HEAD_BYTES_MAX {
            return Err(MalformedResponse("chunk size or trailer is longer than 65536 bytes"));
        }
        let line = self.partial.strip_suffix(b"\r\n");
        self.state = match (self.state, line) {
            (ParserState::ChunkEnd, _) if !b"\r\n".starts_with(&self.partial) => return Err(CHUNK_END),
            _ if end.is_none() => return Ok(bytes.len()),
            (ParserState::Size, Some(line)) => match chunk_size(line)? {
                0 => ParserState::Trailer,
                size => ParserState::Chunk(size),
            },
            (ParserState::Size, None) => return Err(CHUNK_END),
            (ParserState::ChunkEnd, _) => ParserState::Size,
            (_, Some(b"")) => ParserState::Done,
            _ => ParserState::Trailer,
        };
        self.partial.clear();
        Ok(end.unwrap_or(bytes.len()))
    }
}

/// Parses a line with the size of a chunk, and ignores its extensions. Source: RFC 9112, 7.1.1.
fn chunk_size(line: &[u8]) -> Result<u64, MalformedResponse> {
    let digits = line.split(|byte| b"; \t".contains(byte)).next().unwrap_or_default();
    let is_number = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_number);
    digits
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(MalformedResponse("chunk size is no hex number of at most 15 digits before CR LF"))
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
            "transfer-encoding" if value == "chunked" => (head.is_chunked, state) = (true, ParserState::Size),
            "transfer-encoding" => return Err(MalformedResponse("transfer encoding is not chunked")),
            "content-length" if state != ParserState::Size => {
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
