//! Lines of standard input, in batches of what is there at once.

use std::io::{BufRead, BufReader, Read};

use tokio::sync::mpsc::Receiver;

/// A batch holds no more lines.
const LINES_MAX: usize = 1000;

/// A batch that holds so many bytes takes no further line. As JSON it may grow sixfold, which a hub's default
/// bound for a body still takes.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// A longer line is refused here: more than a hub would take, and a bound on what is held.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Lines that follow each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineBatch {
    /// The number of the first line, from 1.
    pub(super) first: usize,
    pub(super) lines: Vec<String>,
    /// Why the line after these cannot be published; reading has stopped there.
    pub(super) fault: Option<String>,
}

impl LineBatch {
    fn new(first: usize) -> Self {
        Self { first, lines: Vec::new(), fault: None }
    }

    fn bytes(&self) -> usize {
        self.lines.iter().map(String::len).sum()
    }

    /// The numbers of these lines, in words.
    pub(super) fn range(&self) -> String {
        match self.lines.len() {
            1 => format!("line {}", self.first),
            count => format!("lines {} to {}", self.first, self.first + count - 1),
        }
    }

    /// Adds the lines of the batch that follows, if both fit into one.
    fn join(&mut self, next: Self) -> Option<Self> {
        let fits = self.lines.len() + next.lines.len() <= LINES_MAX
            && self.bytes() + next.bytes() <= BATCH_BYTES_MAX
            && self.fault.is_none();
        if !fits {
            return Some(next);
        }
        self.lines.extend(next.lines);
        self.fault = next.fault;
        None
    }
}

/// The next batches, joined as far as they have been read and fit into one.
pub(super) struct LineBatches {
    receiver: Receiver<LineBatch>,
    /// Received, but too large to join.
    next: Option<LineBatch>,
}

impl LineBatches {
    pub(super) fn new(receiver: Receiver<LineBatch>) -> Self {
        Self { receiver, next: None }
    }

    /// The next batch; `None` at the end of the input.
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

/// Reads lines, ended by LF or CRLF, and gives a batch to `take` whenever the next line would have to be waited for
/// or the batch is full, until the input ends, a line is at fault, or `take` returns false.
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
            Err(fault) => {
                batch.fault = Some(fault);
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
    if !batch.lines.is_empty() || batch.fault.is_some() {
        take(batch);
    }
}

fn read_line(input: &mut impl BufRead) -> Result<Option<String>, String> {
    let mut line = Vec::new();
    let read = input.take(LINE_BYTES_MAX as u64 + 2).read_until(b'\n', &mut line);
    match read {
        Err(fault) => return Err(format!("standard input cannot be read: {fault}")),
        Ok(0) => return Ok(None),
        Ok(_) => {}
    }
    if line.pop_if(|byte| *byte == b'\n').is_some() {
        line.pop_if(|byte| *byte == b'\r');
    }
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("line is longer than {LINE_BYTES_MAX} bytes"));
    }
    String::from_utf8(line).map(Some).map_err(|fault| {
        let at = fault.utf8_error().valid_up_to() + 1;
        format!("byte {at} is not UTF-8; events are text, so encode it, e.g. as base64")
    })
}

#[cfg(test)]
mod tests;
