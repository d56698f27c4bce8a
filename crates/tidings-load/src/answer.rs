//! One HTTP/1.1 answer after another, read piece by piece: chunked, of a known length, or until the close.

use std::fmt;

/// A head longer than this is no head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl Malformed {
    /// The fault in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// What a head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Whether the body is `text/event-stream`.
    pub is_event_stream: bool,
    /// Whether another request may follow on the connection.
    pub keeps_alive: bool,
}

/// The reader of the answers on one connection.
#[derive(Debug, Default)]
pub struct Answer {
    state: State,
    /// The beginning of a head whose end has not come.
    partial: Vec<u8>,
    head: Option<Head>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// In the line of a chunk's size: the value so far, its digits, and whether an extension began.
    Size {
        value: u64,
        digits: u8,
        is_over: bool,
    },
    /// In a chunk, with so many bytes to come.
    Chunk(u64),
    /// After a chunk, before the LF of its line end.
    ChunkEnd,
    /// After the last chunk: bytes of the current trailer line.
    Trailer(u32),
    Length(u64),
    UntilClose,
    Done,
}

const SIZE: State = State::Size { value: 0, digits: 0, is_over: false };

impl Answer {
    /// What the head says, once it has come.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Whether the answer has come to its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Makes ready for the next answer.
    pub fn renew(&mut self) {
        self.state = State::Head;
        self.partial.clear();
        self.head = None;
    }

    /// Takes the next bytes, calls `on_body` with every stretch of the body, and returns how many bytes belong to
    /// this answer: all of them, unless it ended.
    ///
    /// # Errors
    /// What is no HTTP/1.1 answer, or encoded in a way that nobody asked for.
    pub fn feed(&mut self, bytes: &[u8], on_body: &mut impl FnMut(Head, &[u8])) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            at += if self.state == State::Head {
                self.take_head(&bytes[at..])?
            } else {
                self.take_body(&bytes[at..], on_body)?
            };
        }
        Ok(at)
    }

    /// Says that the connection was closed, which is the end of some answers.
    ///
    /// # Errors
    /// Where more had to come.
    pub fn close(&mut self) -> Result<(), Malformed> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            State::Head => Err(Malformed("connection closed before the answer")),
            _ => Err(Malformed("connection closed within the answer")),
        }
    }

    fn take_head(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let before = self.partial.len();
        self.partial.extend_from_slice(bytes);
        let searched_from = before.saturating_sub(3);
        let Some(end) = memchr::memmem::find(&self.partial[searched_from..], b"\r\n\r\n") else {
            return if self.partial.len() > HEAD_BYTES_MAX {
                Err(Malformed("head is longer than 65536 bytes"))
            } else {
                Ok(bytes.len())
            };
        };
        let end = searched_from + end + 4;
        let (head, state) = read_head(&self.partial[..end - 4])?;
        self.partial = Vec::new();
        // An interim answer is followed by the real one.
        if head.status >= 200 {
            self.head = Some(head);
            self.state = state;
        }
        Ok(end - before)
    }

    /// Takes what belongs to one state.
    fn take_body(&mut self, bytes: &[u8], on_body: &mut impl FnMut(Head, &[u8])) -> Result<usize, Malformed> {
        let head = self.head.expect("a body follows a head");
        let first = bytes[0];
        match self.state {
            State::Chunk(left) => {
                let taken = up_to(bytes, left);
                on_body(head, taken);
                let left = left - taken.len() as u64;
                self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                return Ok(taken.len());
            }
            State::Length(left) => {
                let taken = up_to(bytes, left);
                on_body(head, taken);
                let left = left - taken.len() as u64;
                self.state = if left == 0 { State::Done } else { State::Length(left) };
                return Ok(taken.len());
            }
            State::UntilClose => {
                on_body(head, bytes);
                return Ok(bytes.len());
            }
            State::Size { value, digits, is_over } => self.state = size(first, value, digits, is_over)?,
            State::ChunkEnd => match first {
                b'\r' => {}
                b'\n' => self.state = SIZE,
                _ => return Err(Malformed("chunk is longer than its size says")),
            },
            State::Trailer(length) => match (first, length) {
                (b'\r', _) => {}
                (b'\n', 0) => self.state = State::Done,
                (b'\n', _) => self.state = State::Trailer(0),
                _ => self.state = State::Trailer(length.saturating_add(1)),
            },
            State::Head | State::Done => {}
        }
        Ok(1)
    }
}

fn up_to(bytes: &[u8], left: u64) -> &[u8] {
    &bytes[..usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))]
}

/// The state after one more byte of the line of a chunk's size.
fn size(byte: u8, value: u64, digits: u8, is_over: bool) -> Result<State, Malformed> {
    Ok(match char::from(byte).to_digit(16) {
        _ if byte == b'\n' && digits == 0 => return Err(Malformed("chunk without a size")),
        _ if byte == b'\n' && value == 0 => State::Trailer(0),
        _ if byte == b'\n' => State::Chunk(value),
        _ if matches!(byte, b'\r' | b';' | b' ' | b'\t') || is_over => {
            State::Size { value, digits, is_over: true }
        }
        Some(digit) if digits < 15 => {
            State::Size { value: value << 4 | u64::from(digit), digits: digits + 1, is_over }
        }
        _ => return Err(Malformed("chunk size is no hex number of at most 15 digits")),
    })
}

/// Reads a head without its last line ends: what it says, and what its body is like.
fn read_head(bytes: &[u8]) -> Result<(Head, State), Malformed> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let is_new = first.starts_with("HTTP/1.1 ");
    if !is_new && !first.starts_with("HTTP/1.0 ") {
        return Err(Malformed("answer does not begin with HTTP/1.1"));
    }
    let status = first.get(9..12).and_then(|status| status.parse().ok());
    let status: u16 = status.ok_or(Malformed("answer without a status"))?;
    let mut head = Head { status, is_event_stream: false, keeps_alive: is_new };
    let mut state = State::UntilClose;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim().to_ascii_lowercase();
        match name.trim().to_ascii_lowercase().as_str() {
            "content-type" => head.is_event_stream = value.starts_with("text/event-stream"),
            "connection" if value.contains("close") => head.keeps_alive = false,
            "connection" if value.contains("keep-alive") => head.keeps_alive = true,
            "content-encoding" if value != "identity" => {
                return Err(Malformed("body is compressed although nothing was accepted"));
            }
            "transfer-encoding" if value == "chunked" => state = SIZE,
            "transfer-encoding" => return Err(Malformed("transfer encoding is not chunked")),
            "content-length" if state != SIZE => {
                state = State::Length(value.parse().map_err(|_| Malformed("content length is no number"))?);
            }
            _ => {}
        }
    }
    if matches!(status, 204 | 304) || state == State::Length(0) {
        state = State::Done;
    }
    head.keeps_alive &= state != State::UntilClose;
    Ok((head, state))
}

#[cfg(test)]
mod tests;
