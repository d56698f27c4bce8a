//! HTTP/1.1 chunks on their way out, which a socket may take in any pieces.

use std::io::{self, IoSlice, Write};

use bytes::{Bytes, BytesMut};
use mio::net::TcpStream;

/// Slices of a usual write, and of a large one.
const SLICES: (usize, usize) = (8, 256);

const LINE_END: Bytes = Bytes::from_static(b"\r\n");
const END_OF_BODY: Bytes = Bytes::from_static(b"\r\n0\r\n\r\n");

/// Makes one HTTP/1.1 chunk of a frame.
pub(super) fn chunk_of(frame: &[u8]) -> Bytes {
    let mut chunk = BytesMut::with_capacity(frame.len() + SIZE_BYTES + LINE_END.len());
    chunk.extend_from_slice(size_line_in(&mut [0; SIZE_BYTES], frame.len()));
    chunk.extend_from_slice(frame);
    chunk.extend_from_slice(&LINE_END);
    chunk.freeze()
}

/// Whole chunks in parts, with the head of the response before the first.
pub(super) struct ChunkWriter {
    parts: Vec<Bytes>,
    /// Parts that were sent whole.
    sent: usize,
    /// Bytes of the next part that were sent.
    sent_bytes: usize,
}

impl ChunkWriter {
    /// Sends chunks as they are.
    pub(super) fn new(chunks: Vec<Bytes>) -> Self {
        Self { parts: chunks, sent: 0, sent_bytes: 0 }
    }

    /// Sends the head of a response, and the first chunk.
    pub(super) fn first(head: Bytes, opening: Bytes) -> Self {
        Self::new(vec![head, size_line(opening.len()), opening, LINE_END])
    }

    /// Sends one chunk of several frames.
    pub(super) fn frames(frames: Vec<Bytes>) -> Self {
        Self::chunk(frames, LINE_END)
    }

    /// Sends the last chunk with frames, and the end of the body.
    pub(super) fn last(frame: Bytes) -> Self {
        Self::chunk(vec![frame], END_OF_BODY)
    }

    fn chunk(frames: Vec<Bytes>, end: Bytes) -> Self {
        let mut parts = Vec::with_capacity(frames.len() + 2);
        parts.push(size_line(frames.iter().map(Bytes::len).sum()));
        parts.extend(frames);
        parts.push(end);
        Self::new(parts)
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.parts.len()
    }

    /// Writes once.
    pub(super) fn write(&mut self, socket: &mut TcpStream) -> io::Result<usize> {
        let is_usual = self.parts.len() - self.sent <= SLICES.0;
        let written =
            if is_usual { self.gather::<{ SLICES.0 }>(socket) } else { self.gather::<{ SLICES.1 }>(socket) }?;
        self.advance(written);
        Ok(written)
    }

    fn gather<const SLICES: usize>(&self, socket: &mut TcpStream) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let unsent = &self.parts[self.sent..];
        for (slice, part) in slices.iter_mut().zip(unsent) {
            *slice = IoSlice::new(part);
        }
        slices[0] = IoSlice::new(&unsent[0][self.sent_bytes..]);
        socket.write_vectored(&slices[..unsent.len().min(SLICES)])
    }

    /// Notes that the socket took `written` bytes.
    pub(super) fn advance(&mut self, mut written: usize) {
        while let Some(part) = self.parts.get(self.sent) {
            let left = part.len() - self.sent_bytes;
            if written < left {
                self.sent_bytes += written;
                return;
            }
            written -= left;
            (self.sent, self.sent_bytes) = (self.sent + 1, 0);
        }
    }
}

/// Bound of the size line of a chunk.
const SIZE_BYTES: usize = 2 * size_of::<usize>() + 2;

fn size_line(bytes: usize) -> Bytes {
    Bytes::copy_from_slice(size_line_in(&mut [0; SIZE_BYTES], bytes))
}

/// Writes the size line of a chunk, byte for byte as hyper does.
fn size_line_in(line: &mut [u8; SIZE_BYTES], bytes: usize) -> &[u8] {
    let mut left = &mut line[..];
    write!(left, "{bytes:X}\r\n").expect("the buffer holds every size");
    let unused = left.len();
    &line[..SIZE_BYTES - unused]
}

#[cfg(test)]
mod tests;
