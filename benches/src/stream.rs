//! One HTTP/1.1 answer that goes on: its head, its chunks, and the lines in them, whichever way the bytes are cut.

/// What has been read so far of one streamed answer.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    state: State,
    /// The head, or the line, of which only the beginning has come.
    partial: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// Reading a chunk's size, so far this.
    Size(usize),
    /// Within a chunk, with so many bytes to come.
    Chunk(usize),
    /// Before the line end that follows a chunk, of which so many bytes are to come.
    ChunkEnd(usize),
    Ended,
}

impl Stream {
    /// Whether the head was read, with status 200.
    pub(crate) fn is_open(&self) -> bool {
        self.state != State::Head
    }

    /// Takes the next bytes and calls `on_line` for every whole line of the body.
    ///
    /// # Errors
    /// What is wrong with the answer: another status than 200, or a body that is not chunked.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], on_line: &mut impl FnMut(&[u8])) -> Result<(), String> {
        while !bytes.is_empty() {
            match self.state {
                State::Head => {
                    self.partial.extend_from_slice(bytes);
                    let Some(end) = memchr::memmem::find(&self.partial, b"\r\n\r\n") else { return Ok(()) };
                    let all = std::mem::take(&mut self.partial);
                    check_head(&all[..end])?;
                    self.state = State::Size(0);
                    return self.feed(&all[end + 4..], on_line);
                }
                State::Size(size) => {
                    self.state = match (bytes[0], size) {
                        (b'\n', 0) => State::Ended,
                        (b'\n', size) => State::Chunk(size),
                        (b'\r', size) => State::Size(size),
                        (digit, size) => {
                            let digit =
                                char::from(digit).to_digit(16).ok_or("chunk size is no hex number")?;
                            State::Size(size * 16 + digit as usize)
                        }
                    };
                    bytes = &bytes[1..];
                }
                State::Chunk(left) => {
                    let (body, rest) = bytes.split_at(left.min(bytes.len()));
                    self.lines(body, on_line);
                    bytes = rest;
                    self.state =
                        if left == body.len() { State::ChunkEnd(2) } else { State::Chunk(left - body.len()) };
                }
                State::ChunkEnd(left) => {
                    self.state = if left == 1 { State::Size(0) } else { State::ChunkEnd(left - 1) };
                    bytes = &bytes[1..];
                }
                State::Ended => return Err("stream goes on after its end".into()),
            }
        }
        Ok(())
    }

    fn lines(&mut self, mut body: &[u8], on_line: &mut impl FnMut(&[u8])) {
        while let Some(end) = memchr::memchr(b'\n', body) {
            let (line, rest) = (&body[..end], &body[end + 1..]);
            if self.partial.is_empty() {
                on_line(line);
            } else {
                self.partial.extend_from_slice(line);
                on_line(&self.partial);
                self.partial.clear();
            }
            body = rest;
        }
        self.partial.extend_from_slice(body);
    }
}

fn check_head(head: &[u8]) -> Result<(), String> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") || !head.contains("transfer-encoding: chunked") {
        return Err(format!("stream was answered by {head:?}; expected 200 and a chunked body"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
