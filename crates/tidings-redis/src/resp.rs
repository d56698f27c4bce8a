//! The Redis protocol (RESP2): encoder of commands, decoder of replies.

// No reply of Redis may end a thread.
#![deny(clippy::expect_used)]

use bytes::{Buf, Bytes, BytesMut};

use crate::error_reply::ErrorReply;

/// Bytes of one text in a reply; a larger text is skipped as it arrives.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 20;
/// Elements of one array.
const ELEMENTS_MAX: usize = 1 << 20;
/// Arrays within arrays.
const DEPTH_MAX: usize = 8;
/// Bytes of a line: a type with its number, or an error's text.
const LINE_BYTES_MAX: usize = 64 << 10;

/// One command with its arguments, encoded.
#[derive(Debug, Clone)]
pub struct RedisCommand {
    arguments: usize,
    body: Vec<u8>,
}

impl RedisCommand {
    /// Creates a command without further arguments.
    pub fn new(name: &str) -> Self {
        Self { arguments: 0, body: Vec::new() }.arg(name)
    }

    /// Appends an argument.
    pub fn arg(mut self, argument: impl AsRef<[u8]>) -> Self {
        self.push(argument);
        self
    }

    /// Appends arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        arguments.into_iter().for_each(|argument| self.push(argument));
        self
    }

    /// Appends an argument.
    pub fn push(&mut self, argument: impl AsRef<[u8]>) {
        let argument = argument.as_ref();
        self.arguments += 1;
        self.body.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        self.body.extend_from_slice(argument);
        self.body.extend_from_slice(b"\r\n");
    }

    /// Appends a number, written in decimal.
    pub fn push_number(&mut self, number: u64) {
        self.push(number.to_string());
    }

    /// Returns the encoded size.
    pub(crate) fn wire_bytes(&self) -> usize {
        self.head().len() + self.body.len()
    }

    fn head(&self) -> String {
        format!("*{}\r\n", self.arguments)
    }

    /// Whether the command has this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.body.starts_with(format!("${}\r\n{name}\r\n", name.len()).as_bytes())
    }

    pub(crate) fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.head().as_bytes());
        out.extend_from_slice(&self.body);
    }
}

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisReply {
    /// A simple string.
    Word(Bytes),
    /// An error.
    Error(String),
    /// An integer.
    Number(i64),
    /// A bulk string.
    Text(Bytes),
    /// A null string or a null array.
    Nil,
    /// An array.
    Array(Vec<RedisReply>),
    /// A text of this many bytes, which was skipped because it is above the limit.
    TooLarge(u64),
}

impl RedisReply {
    /// Returns the bytes of a string.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Word(bytes) | Self::Text(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns a string that is UTF-8.
    pub fn str(&self) -> Option<&str> {
        std::str::from_utf8(self.text()?).ok()
    }

    /// Returns a number, also if it is written as text.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            other => other.str()?.parse().ok(),
        }
    }

    /// Returns the elements of an array.
    pub fn array(&self) -> Option<&[RedisReply]> {
        match self {
            Self::Array(replies) => Some(replies),
            _ => None,
        }
    }

    /// Returns the code of an error, such as `NOSCRIPT`.
    pub fn error_code(&self) -> Option<&str> {
        match self {
            Self::Error(error) => Some(ErrorReply::parse(error).code),
            _ => None,
        }
    }
}

/// Incremental decoder of replies: it reads no byte twice.
#[derive(Debug)]
pub struct ReplyDecoder {
    buffer: BytesMut,
    /// Incomplete arrays, outermost first, each with the number of its missing elements.
    open: Vec<(Vec<RedisReply>, usize)>,
    text_bytes_max: usize,
    /// Bytes that a skipped text still lacks, and its size.
    passing: Option<(u64, u64)>,
}

/// Violation of the protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct ProtocolError(pub(crate) &'static str);

impl ReplyDecoder {
    /// Creates a decoder that skips texts above a size.
    pub fn new(text_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), open: Vec::new(), text_bytes_max, passing: None }
    }

    pub(crate) fn limit_texts(&mut self, bytes_max: usize) {
        self.text_bytes_max = bytes_max;
    }

    /// Returns the buffer for arriving bytes.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether every byte that arrived belongs to a returned reply.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.open.is_empty() && self.passing.is_none()
    }

    /// Returns the next reply; `None` until more bytes arrive.
    ///
    /// # Errors
    /// The bytes are no RESP2, or an array is above its limits. The decoder cannot be used any more.
    pub fn next_reply(&mut self) -> Result<Option<RedisReply>, ProtocolError> {
        while let Some(reply) = self.scalar()? {
            let mut complete = Some(reply);
            while let Some(reply) = complete.take() {
                let Some((elements, lacking)) = self.open.last_mut() else { return Ok(Some(reply)) };
                elements.push(reply);
                *lacking -= 1;
                if *lacking == 0 {
                    complete = self.open.pop().map(|(elements, _)| RedisReply::Array(elements));
                }
            }
        }
        Ok(None)
    }

    /// Returns the next reply that is not a non-empty array. Opens such an array, and continues with its first element.
    fn scalar(&mut self) -> Result<Option<RedisReply>, ProtocolError> {
        loop {
            if let Some((lacking, bytes)) = self.passing {
                let here = lacking.min(self.buffer.len() as u64);
                self.buffer.advance(here as usize);
                if here < lacking {
                    self.passing = Some((lacking - here, bytes));
                    return Ok(None);
                }
                self.passing = None;
                return Ok(Some(RedisReply::TooLarge(bytes)));
            }
            let Some(line_bytes) = self.line()? else { return Ok(None) };
            let rest = &self.buffer[1..line_bytes];
            let reply = match self.buffer[0] {
                b'+' => RedisReply::Word(Bytes::copy_from_slice(rest)),
                b'-' => RedisReply::Error(String::from_utf8_lossy(rest).into_owned()),
                b':' => RedisReply::Number(number(rest)?),
                b'$' => match self.bulk(number(rest)?, line_bytes)? {
                    BulkString::Whole(reply) => return Ok(Some(reply)),
                    BulkString::NotYet => return Ok(None),
                    BulkString::Passing => continue,
                },
                b'*' => match number(rest)? {
                    -1 => RedisReply::Nil,
                    0 => RedisReply::Array(Vec::new()),
                    count => {
                        let count = usize::try_from(count)
                            .map_err(|_| ProtocolError("an array of a negative size"))?;
                        if count > ELEMENTS_MAX || self.open.len() >= DEPTH_MAX {
                            return Err(ProtocolError("an array above the size or depth limit"));
                        }
                        self.open.push((Vec::with_capacity(count.min(1024)), count));
                        self.buffer.advance(line_bytes + 2);
                        continue;
                    }
                },
                _ => return Err(ProtocolError("a reply of an unknown type")),
            };
            self.buffer.advance(line_bytes + 2);
            return Ok(Some(reply));
        }
    }

    /// Returns the size of the first line without its end; `None` if the end has not arrived.
    fn line(&self) -> Result<Option<usize>, ProtocolError> {
        match memchr::memchr(b'\r', &self.buffer) {
            Some(0) => Err(ProtocolError("an empty line")),
            Some(end) if self.buffer.len() > end + 1 => match self.buffer[end + 1] {
                b'\n' => Ok(Some(end)),
                _ => Err(ProtocolError("a carriage return without a line feed")),
            },
            None if self.buffer.len() > LINE_BYTES_MAX => Err(ProtocolError("a line without an end")),
            _ => Ok(None),
        }
    }

    fn bulk(&mut self, bytes: i64, line_bytes: usize) -> Result<BulkString, ProtocolError> {
        let head = line_bytes + 2;
        if bytes == -1 {
            self.buffer.advance(head);
            return Ok(BulkString::Whole(RedisReply::Nil));
        }
        let bytes = usize::try_from(bytes).map_err(|_| ProtocolError("a text of a negative size"))?;
        if bytes > self.text_bytes_max {
            self.buffer.advance(head);
            self.passing = Some((bytes as u64 + 2, bytes as u64));
            return Ok(BulkString::Passing);
        }
        if self.buffer.len() < head + bytes + 2 {
            self.buffer.reserve(head + bytes + 2 - self.buffer.len());
            return Ok(BulkString::NotYet);
        }
        if self.buffer[head + bytes..head + bytes + 2] != *b"\r\n" {
            return Err(ProtocolError("a text longer than its announced size"));
        }
        self.buffer.advance(head);
        let text = self.buffer.split_to(bytes).freeze();
        self.buffer.advance(2);
        Ok(BulkString::Whole(RedisReply::Text(text)))
    }
}

/// Result of reading a text.
enum BulkString {
    Whole(RedisReply),
    NotYet,
    Passing,
}

fn number(digits: &[u8]) -> Result<i64, ProtocolError> {
    let text = std::str::from_utf8(digits).ok();
    text.and_then(|text| text.parse().ok()).ok_or(ProtocolError("an invalid number"))
}

#[cfg(test)]
mod tests;
