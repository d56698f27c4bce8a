//! Batches of lines from standard input: a batch holds the lines that have arrived.

use std::io::{BufRead, BufReader, Read};

use tokio::sync::mpsc::Receiver;

/// Lines of a batch, at most.
const LINES_MAX: usize = 1000;

/// A batch with so many bytes takes no further line. As JSON it may grow sixfold, which is still below the default of
/// `limits.body_bytes`.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a line, at most: more than a hub accepts.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Successive lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineBatch {
    /// Number of the first line, from 1.
    pub(super) first: usize,
    pub(super) lines: Vec<String>,
    /// Error of the line after these, at which reading has stopped.
    pub(super) error: Option<String>,
}

impl LineBatch {
    fn new(first: usize) -> Self {
        Self { first, lines: Vec::new(), error: None }
    }

    fn bytes(&self) -> usize {
        self.lines.iter().map(String::len).sum()
    }

    /// Returns the numbers of these lines, as text.
    pub(super) fn range(&self) -> String {
        match self.lines.len() {
            1 => format!("line {}", self.first),
            count => format!("lines {} to {}", self.first, self.first + count - 1),
        }
    }

    /// Appends the next batch. Returns it if both do not fit into one.
    fn join(&mut self, next: Self) -> Option<Self> {
        let fits = self.lines.len() + next.lines.len() <= LINES_MAX
            && self.bytes() + next.bytes() <= BATCH_BYTES_MAX
            && self.error.is_none();
        if !fits {
            return Some(next);
        }
        self.lines.extend(next.lines);
        self.error = next.error;
        None
    }
}

/// Receives batches, and joins those that have arrived and fit into one.
pub(super) struct LineBatches {
    receiver: Receiver<LineBatch>,
    /// Batch that was received, and too large to join.
    next: Option<LineBatch>,
}

impl LineBatches {
    pub(super) fn new(receiver: Receiver<LineBatch>) -> Self {
        Self { receiver, next: None }
    }

    /// Returns the next batch; `None` at the end of the input.
    pub(super) async fn next(&mut self) -> Option<LineBatch> {
        let mut batch = match self.next.take() {
            Some(batch) => batch,
            None => self.receiver.recv().await?,
        };
        while self.next.is_none() {
            match self.receiver.try_recv() {
                Ok(more) => self.next = batch.join(more),
                Err(_) => break,
            }
        }
        Some(batch)
    }
}

/// Reads lines that end in LF or CRLF. Calls `take` with a batch when it is full, or when the next line has not arrived.
/// Stops when the input ends, when a line has an error, or when `take` returns false.
pub(super) fn read<R: Read>(input: &mut BufReader<R>, mut take: impl FnMut(LineBatch) -> bool) {
    let mut batch = LineBatch::new(1);
    let mut bytes = 0;
    loop {
        match read_line(input) {
            Ok(Some(line)) => {
                bytes += line.len();
                batch.lines.push(line);
            }
            Ok(None) => break,
            Err(error) => {
                batch.error = Some(error);
                break;
            }
        }
        let is_full = batch.lines.len() == LINES_MAX || bytes >= BATCH_BYTES_MAX;
        if is_full || !input.buffer().contains(&b'\n') {
            let next = LineBatch::new(batch.first + batch.lines.len());
            bytes = 0;
            if !take(std::mem::replace(&mut batch, next)) {
                return;
            }
        }
    }
    if !batch.lines.is_empty() || batch.error.is_some() {
        take(batch);
    }
}

fn read_line(input: &mut impl BufRead) -> Result<Option<String>, String> {
    let mut line = Vec::new();
    let read = input.take(LINE_BYTES_MAX as u64 + 2).read_until(b'\n', &mut line);
    match read {
        Err(error) => return Err(format!("standard input cannot be read: {error}")),
        Ok(0) => return Ok(None),
        Ok(_) => {}
    }
    if line.pop_if(|byte| *byte == b'\n').is_some() {
        line.pop_if(|byte| *byte == b'\r');
    }
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("line is longer than {LINE_BYTES_MAX} bytes"));
    }
    String::from_utf8(line).map(Some).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        format!("byte {at} is not UTF-8; events are text, so encode it, e.g. as base64")
    })
}

#[cfg(test)]
mod tests;
