//! Takes chunk framing off a body, in whatever portions it comes.

/// Digits of a chunk's size that are read.
const SIZE_DIGITS_MAX: usize = 8;

/// An incremental decoder of `Transfer-Encoding: chunked`.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    state: State,
    /// Bytes of the present chunk still to come.
    left: usize,
    digits: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    /// In the lines after the last chunk; `Trailer` is at the start of one.
    Trailer,
    TrailerLine,
    LastEnd,
    Done,
}

impl Chunks {
    /// Returns whether the last chunk was read.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Appends the content in `bytes` to `out`.
    ///
    /// # Errors
    /// What is wrong with the framing.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.state == State::Data {
                let (content, after) = bytes.split_at(self.left.min(bytes.len()));
                out.extend_from_slice(content);
                self.left -= content.len();
                bytes = after;
                if self.left == 0 {
                    self.state = State::DataReturn;
                }
                continue;
            }
            self.state = self.step(byte)?;
            bytes = rest;
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<State, &'static str> {
        Ok(match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => State::SizeEnd,
            (State::Size, b';') if self.digits > 0 => State::Extension,
            (State::Size, _) => {
                let digit = char::from(byte).to_digit(16).ok_or("chunk size is not hexadecimal")?;
                self.digits += 1;
                if self.digits > SIZE_DIGITS_MAX {
                    return Err("chunk size has more than 8 digits");
                }
                self.left = self.left * 16 + digit as usize;
                State::Size
            }
            (State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, _) => State::Extension,
            (State::SizeEnd, b'\n') => {
                self.digits = 0;
                if self.left == 0 { State::Trailer } else { State::Data }
            }
            (State::DataReturn, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => State::Size,
            (State::Trailer, b'\r') => State::LastEnd,
            (State::Trailer | State::TrailerLine, b'\n') => State::Trailer,
            (State::Trailer | State::TrailerLine, _) => State::TrailerLine,
            (State::LastEnd, b'\n') => State::Done,
            (State::Done, _) => return Err("bytes follow the last chunk"),
            _ => return Err("chunk does not end in CR LF"),
        })
    }
}
