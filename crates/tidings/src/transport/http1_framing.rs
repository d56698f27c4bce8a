//! Validates the framing of an HTTP/1 connection byte by byte, and refuses bytes that two readers could read differently.
//!
//! It follows the heads, bodies and trailers of successive requests in constant memory. It does not validate methods,
//! targets and sizes: hyper and the shard do.

/// Connection preface of HTTP/2.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a header name that are kept: one more than the longest name that is compared.
const NAME_BYTES: usize = b"transfer-encoding".len() + 1;
const CHUNKED: &[u8; 7] = b"chunked";
/// Valid ends of a request line.
const KNOWN_VERSIONS: [[u8; 8]; 2] = [*b"HTTP/1.1", *b"HTTP/1.0"];
/// Bytes of the first line of HTTP/2's preface, without its line end.
const PREFACE_LINE_BYTES: usize = b"PRI * HTTP/2.0".len();
/// Bound of a body's length; hyper gives larger numbers another meaning.
const BODY_BYTES_MAX: u64 = u64::MAX - 2;

/// An error of the framing, and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FramingError {
    /// Number of valid bytes before the error, of the bytes that were fed.
    pub(crate) at: usize,
    pub(crate) part: MessagePart,
    /// Description in lower case.
    pub(crate) what: &'static str,
}

/// Part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessagePart {
    /// The request line and the headers.
    Head,
    /// The size of a chunk, and the line ends around its data.
    ChunkFrame,
    /// The extension after a chunk's size.
    Extension,
    /// The headers after the last chunk.
    Trailer,
}

/// Validator of one connection, from its first byte on.
#[derive(Debug)]
pub(crate) struct FramingValidator {
    state: FramingState,
    /// Bytes of HTTP/2's preface so far; `None` once another byte has arrived.
    preface: Option<u8>,
    /// No head has been complete yet.
    is_opening: bool,
    head: HeadState,
    in_trailers: bool,
    name: FieldName,
    value: ValueKind,
    /// Bytes of the incomplete head.
    head_bytes: usize,
    /// Bytes of a head that the last byte completed.
    ended_head: Option<usize>,
}

/// Progress of one feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadProgress {
    /// Bytes that were validated.
    pub(crate) taken: usize,
    /// Bytes of the head that ends with them; `None` if no head does.
    pub(crate) head_bytes: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FramingState {
    /// Between requests. Empty lines are allowed.
    Start,
    StartLf,
    RequestLine,
    RequestLineLf,
    /// At the first byte of a header line, or of the empty line.
    Field,
    Name,
    Value,
    ValueLf,
    EndLf,
    /// In a body, with this many bytes left.
    Body(u64),
    /// At the first digit of a chunk size.
    Size,
    SizeDigits(u64),
    /// In blanks after a size. An extension must follow.
    SizeBlank(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// HTTP/2: no byte is validated any more.
    Off,
    Failed(MessagePart, &'static str),
}

/// Framing of a request, from the headers so far.
#[derive(Debug, Default)]
struct HeadState {
    /// The last eight bytes of the request line.
    version: u64,
    length: Option<u64>,
    is_chunked: bool,
    has_host: bool,
}

/// First bytes of a header name in lower case.
#[derive(Debug, Default)]
struct FieldName {
    bytes: [u8; NAME_BYTES],
    length: usize,
}

/// Kind and state of a header value.
#[derive(Debug, Clone, Copy)]
enum ValueKind {
    Any,
    /// `Content-Length`. `number` is `None` before the first digit.
    Length {
        number: Option<u64>,
        is_over: bool,
    },
    /// `Transfer-Encoding`. `matched` counts the bytes of `chunked` so far.
    Coding {
        matched: usize,
        is_over: bool,
    },
}

impl FramingValidator {
    pub(crate) fn new() -> Self {
        Self {
            state: FramingState::Start,
            preface: Some(0),
            is_opening: true,
            head: HeadState::default(),
            in_trailers: false,
            name: FieldName::default(),
            value: ValueKind::Any,
            head_bytes: 0,
            ended_head: None,
        }
    }

    /// Returns the bytes of the incomplete head, including an invalid byte.
    pub(crate) fn head_bytes(&self) -> usize {
        self.head_bytes
    }

    /// Whether the first head or HTTP/2's preface is incomplete.
    pub(crate) fn is_opening(&self) -> bool {
        self.is_opening || self.preface.is_some()
    }

    /// Whether a head has begun and is incomplete.
    pub(crate) fn is_in_head(&self) -> bool {
        match self.state {
            FramingState::RequestLine | FramingState::RequestLineLf => true,
            FramingState::Field
            | FramingState::Name
            | FramingState::Value
            | FramingState::ValueLf
            | FramingState::EndLf => !self.in_trailers,
            _ => false,
        }
    }

    /// Returns the missing bytes of the first request's body; `None` if the head is incomplete or the length unknown.
    pub(crate) fn body_left(&self) -> Option<u64> {
        match self.state {
            _ if self.is_opening() => None,
            FramingState::Start => Some(0),
            FramingState::Body(left) => Some(left),
            _ => None,
        }
    }

    /// Validates the next bytes of the connection, in pieces of any size.
    ///
    /// # Errors
    /// At the first invalid byte, and for all bytes after it.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        let mut at = 0;
        while at < bytes.len() {
            let progress = self.feed_head(&bytes[at..]);
            at += progress.map_err(|fault| FramingError { at: at + fault.at, ..fault })?.taken;
        }
        Ok(())
    }

    /// Validates bytes as [`FramingValidator::feed`] does, up to the end of a head.
    ///
    /// # Errors
    /// As [`FramingValidator::feed`].
    pub(crate) fn feed_head(&mut self, bytes: &[u8]) -> Result<HeadProgress, FramingError> {
        let mut at = 0;
        while at < bytes.len() && self.ended_head.is_none() {
            match self.take(&bytes[at..]) {
                Ok(taken) => at += taken,
                Err((part, what)) => {
                    self.state = FramingState::Failed(part, what);
                    return Err(FramingError { at, part, what });
                }
            }
        }
        Ok(HeadProgress { taken: at, head_bytes: self.ended_head.take() })
    }

    /// Validates at least one byte; returns the number of validated bytes.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, (MessagePart, &'static str)> {
        match self.state {
            FramingState::Off => return Ok(bytes.len()),
            FramingState::Failed(part, what) => return Err((part, what)),
            FramingState::Body(left) => {
                let (taken, left) = skip(bytes, left);
                self.state = if left == 0 { FramingState::Start } else { FramingState::Body(left) };
                return Ok(taken);
            }
            FramingState::Data(left) => {
                let (taken, left) = skip(bytes, left);
                self.state = if left == 0 { FramingState::DataCr } else { FramingState::Data(left) };
                return Ok(taken);
            }
            FramingState::Value if matches!(self.value, ValueKind::Any) => {
                // Fast path: most bytes of a head are in such values.
                let taken = bytes.iter().position(|byte| !is_text(*byte)).unwrap_or(bytes.len());
                if taken > 0 {
                    self.count(self.part(), taken);
                    return Ok(taken);
                }
            }
            _ => {}
        }
        let byte = bytes[0];
        let part = self.part();
        self.count(part, 1);
        self.state = self.step(byte).map_err(|what| (part, what))?;
        self.follow_preface(byte).map_err(|what| (part, what))?;
        Ok(1)
    }

    fn count(&mut self, part: MessagePart, bytes: usize) {
        if part == MessagePart::Head {
            self.head_bytes += bytes;
        }
    }

    fn part(&self) -> MessagePart {
        match self.state {
            FramingState::Extension(_) => MessagePart::Extension,
            FramingState::Size
            | FramingState::SizeDigits(_)
            | FramingState::SizeBlank(_)
            | FramingState::SizeLf(_)
            | FramingState::DataCr
            | FramingState::DataLf => MessagePart::ChunkFrame,
            _ if self.in_trailers => MessagePart::Trailer,
            _ => MessagePart::Head,
        }
    }

    fn follow_preface(&mut self, byte: u8) -> Result<(), &'static str> {
        let Some(matched) = self.preface else { return Ok(()) };
        let matched = usize::from(matched);
        self.preface = (PREFACE[matched] == byte).then_some(matched as u8 + 1);
        if self.preface.is_none() && matched > PREFACE_LINE_BYTES {
            return Err(OTHER_VERSION);
        }
        if matched + 1 == PREFACE.len() && self.preface.is_some() {
            (self.state, self.preface, self.is_opening, self.head_bytes) =
                (FramingState::Off, None, false, 0);
        }
        Ok(())
    }

    /// Returns the state after a byte.
    fn step(&mut self, byte: u8) -> Result<FramingState, &'static str> {
        match self.state {
            FramingState::Start if byte == b'\r' => Ok(FramingState::StartLf),
            FramingState::StartLf => {
                self.head_bytes = 0;
                line_feed(byte, FramingState::Start)
            }
            FramingState::Start | FramingState::RequestLine => self.request_line(byte),
            FramingState::RequestLineLf => line_feed(byte, FramingState::Field),
            FramingState::Field => self.field(byte),
            FramingState::Name => self.name(byte),
            FramingState::Value => self.value(byte),
            FramingState::ValueLf => line_feed(byte, FramingState::Field),
            FramingState::EndLf => line_feed(byte, FramingState::Start).map(|_| self.end()),
            FramingState::Size => hex(byte).map(FramingState::SizeDigits).ok_or("a chunk without a size"),
            FramingState::SizeDigits(size) => size_digit(size, byte),
            FramingState::SizeBlank(size) => match byte {
                b' ' | b'\t' => Ok(FramingState::SizeBlank(size)),
                b';' => Ok(FramingState::Extension(size)),
                _ => Err("a blank behind the size of a chunk"),
            },
            FramingState::Extension(size) => match byte {
                b'\r' => Ok(FramingState::SizeLf(size)),
                _ => text(byte, FramingState::Extension(size)),
            },
            FramingState::SizeLf(0) => {
                self.in_trailers = true;
                line_feed(byte, FramingState::Field)
            }
            FramingState::SizeLf(size) => line_feed(byte, FramingState::Data(size)),
            FramingState::DataCr if byte == b'\r' => Ok(FramingState::DataLf),
            FramingState::DataCr => Err("a chunk that is longer than its size"),
            FramingState::DataLf => line_feed(byte, FramingState::Size),
            FramingState::Body(_) | FramingState::Data(_) | FramingState::Off | FramingState::Failed(..) => {
                unreachable!("bytes in these states are skipped")
            }
        }
    }

    fn request_line(&mut self, byte: u8) -> Result<FramingState, &'static str> {
        if byte == b'\r' {
            let is_known = KNOWN_VERSIONS.contains(&self.head.version.to_be_bytes());
            // The first line of HTTP/2's preface has another version.
            return if is_known || self.preface.is_some() {
                Ok(FramingState::RequestLineLf)
            } else {
                Err(OTHER_VERSION)
            };
        }
        self.head.version = self.head.version << 8 | u64::from(byte);
        match byte {
            b'\t' => Err("a control character"),
            _ => text(byte, FramingState::RequestLine),
        }
    }

    fn field(&mut self, byte: u8) -> Result<FramingState, &'static str> {
        match byte {
            b'\r' => Ok(FramingState::EndLf),
            b' ' | b'\t' => Err("a header that goes on in the next line"),
            b':' => Err("a header without a name"),
            _ => {
                self.name = FieldName::default();
                self.name(byte)
            }
        }
    }

    fn name(&mut self, byte: u8) -> Result<FramingState, &'static str> {
        match byte {
            b':' => {
                self.value = self.value_kind()?;
                Ok(FramingState::Value)
            }
            b' ' | b'\t' => Err("a blank between a header's name and its colon"),
            b'\n' => Err(BARE_LF),
            b'\r' => Err("a header without a colon"),
            _ if is_token(byte) => {
                self.name.push(byte);
                Ok(FramingState::Name)
            }
            _ => Err("a header's name with a character that none may have"),
        }
    }

    /// Returns the kind of the value that follows the header name.
    fn value_kind(&mut self) -> Result<ValueKind, &'static str> {
        let head = &mut self.head;
        let meant = match self.name.as_bytes() {
            b"content-length" if head.is_chunked => return Err(TWO_FRAMINGS),
            b"content-length" if head.length.is_some() => return Err("two Content-Length headers"),
            b"transfer-encoding" if head.length.is_some() => return Err(TWO_FRAMINGS),
            b"transfer-encoding" if head.is_chunked => return Err("two Transfer-Encoding headers"),
            b"transfer-encoding" if head.version == u64::from_be_bytes(*b"HTTP/1.0") => {
                return Err("Transfer-Encoding in HTTP/1.0");
            }
            b"host" if head.has_host => return Err("two Host headers"),
            b"content-length" => ValueKind::Length { number: None, is_over: false },
            b"transfer-encoding" => ValueKind::Coding { matched: 0, is_over: false },
            b"host" => {
                head.has_host = true;
                ValueKind::Any
            }
            _ => return Ok(ValueKind::Any),
        };
        if self.in_trailers { Err("a header behind the body that belongs before it") } else { Ok(meant) }
    }

    fn value(&mut self, byte: u8) -> Result<FramingState, &'static str> {
        match (&mut self.value, byte) {
            (ValueKind::Any, b'\r') => {}
            (ValueKind::Any, _) => return text(byte, FramingState::Value),
            (ValueKind::Length { number: None, .. } | ValueKind::Coding { matched: 0, .. }, b' ' | b'\t') => {
            }
            (ValueKind::Length { is_over, .. } | ValueKind::Coding { is_over, .. }, b' ' | b'\t') => {
                *is_over = true;
            }
            (ValueKind::Length { number, .. }, b'\r') => {
                self.head.length = Some(number.ok_or("an empty Content-Length")?);
            }
            (ValueKind::Coding { matched, .. }, b'\r') if *matched == CHUNKED.len() => {
                self.head.is_chunked = true;
            }
            (ValueKind::Length { number, is_over: false }, b'0'..=b'9') => {
                let digit = u64::from(byte - b'0');
                let longer = number.unwrap_or(0).checked_mul(10).and_then(|tens| tens.checked_add(digit));
                let longer = longer.filter(|length| *length <= BODY_BYTES_MAX);
                *number = Some(longer.ok_or("a Content-Length beyond all bounds")?);
            }
            (ValueKind::Coding { matched, is_over: false }, _)
                if CHUNKED.get(*matched) == Some(&byte.to_ascii_lowercase()) =>
            {
                *matched += 1;
            }
            (_, b'\n') => return Err(BARE_LF),
            (ValueKind::Length { .. }, _) => return Err("a Content-Length that is no plain number"),
            (ValueKind::Coding { .. }, _) => return Err("a Transfer-Encoding other than chunked"),
        }
        Ok(if byte == b'\r' { FramingState::ValueLf } else { FramingState::Value })
    }

    /// Returns the state after a complete head, or after the trailers.
    fn end(&mut self) -> FramingState {
        self.is_opening = false;
        let head = std::mem::take(&mut self.head);
        if std::mem::take(&mut self.in_trailers) {
            return FramingState::Start;
        }
        // The first line of HTTP/2's preface and the empty line after it are no head.
        if self.preface.is_none() {
            self.ended_head = Some(std::mem::take(&mut self.head_bytes));
        }
        match head.length {
            _ if head.is_chunked => FramingState::Size,
            Some(length) if length > 0 => FramingState::Body(length),
            _ => FramingState::Start,
        }
    }
}

impl FieldName {
    /// Appends a byte. Names longer than [`NAME_BYTES`] are cut, and match no name that is compared.
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.length) {
            *slot = byte.to_ascii_lowercase();
            self.length += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

const BARE_LF: &str = "a line feed without a carriage return";
const OTHER_VERSION: &str = "a version of HTTP other than 1.0 and 1.1";
const TWO_FRAMINGS: &str = "Content-Length beside Transfer-Encoding";

fn line_feed(byte: u8, next: FramingState) -> Result<FramingState, &'static str> {
    if byte == b'\n' { Ok(next) } else { Err("a carriage return without a line feed") }
}

fn text(byte: u8, next: FramingState) -> Result<FramingState, &'static str> {
    match byte {
        b'\n' => Err(BARE_LF),
        _ if is_text(byte) => Ok(next),
        _ => Err("a control character"),
    }
}

fn size_digit(size: u64, byte: u8) -> Result<FramingState, &'static str> {
    match byte {
        b'\r' => Ok(FramingState::SizeLf(size)),
        b';' => Ok(FramingState::Extension(size)),
        b' ' | b'\t' => Ok(FramingState::SizeBlank(size)),
        _ => {
            let digit = hex(byte).ok_or("a chunk whose size is no number")?;
            let size = size.checked_mul(16).ok_or("a chunk beyond all bounds")?;
            Ok(FramingState::SizeDigits(size | digit))
        }
    }
}

/// Skips up to `left` bytes; returns the skipped bytes, and the bytes that are left then.
fn skip(bytes: &[u8], left: u64) -> (usize, u64) {
    let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    (taken, left - taken as u64)
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

/// Whether a value or a request line may hold the byte. Source: RFC 9110, 5.5.
fn is_text(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// Whether a header name may hold the byte. Source: RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
