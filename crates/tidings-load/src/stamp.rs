//! Stamps: each event carries its channel, producer, number and send time.

use std::io::Write;

use memchr::memmem;

/// Identity and send time of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The channel, counted from 0.
    pub channel: u32,
    /// Index of the publisher among those of the channel.
    pub producer: u16,
    /// Position in the producer's sequence, from 0.
    pub number: u32,
    /// Send time, in microseconds on the clock of the load.
    pub micros: u64,
}

/// Padding; 64 bytes hold every stamp.
const PAD: &[u8; 64] = b"................................................................";

/// Writes and finds the stamps of one run.
#[derive(Debug)]
pub struct StampCodec {
    run: u32,
    finder: memmem::Finder<'static>,
}

impl StampCodec {
    /// Creates the codec of a run. Runs that share a server need different numbers.
    pub fn new(run: u32) -> Self {
        Self { run, finder: memmem::Finder::new(format!("{run:08x}.").as_bytes()).into_owned() }
    }

    /// Appends the data of an event: a JSON object of `bytes` bytes, or more if the stamp needs them.
    pub fn write(&self, stamp: Stamp, bytes: usize, text: &mut Vec<u8>) {
        let end = text.len() + bytes;
        let Stamp { channel, producer, number, micros } = stamp;
        // The stamp holds no quote, so it is also found when a server puts the data into a JSON string.
        let run = self.run;
        let _ = write!(text, r#"{{"bench":"{run:08x}.{channel}.{producer}.{number}.{micros}","pad":""#);
        while text.len() + 2 < end {
            let missing = end - 2 - text.len();
            text.extend_from_slice(&PAD[..missing.min(PAD.len())]);
        }
        text.extend_from_slice(b"\"}");
    }

    /// Finds the stamp in a text.
    pub fn read(&self, text: &[u8]) -> Option<Stamp> {
        let at = self.finder.find(text)? + self.finder.needle().len();
        let mut rest = &text[at..];
        let channel = u32::try_from(number(&mut rest, true)?).ok()?;
        let producer = u16::try_from(number(&mut rest, true)?).ok()?;
        let count = u32::try_from(number(&mut rest, true)?).ok()?;
        Some(Stamp { channel, producer, number: count, micros: number(&mut rest, false)? })
    }
}

/// Parses digits, and the dot after them if one must follow.
fn number(text: &mut &[u8], has_dot: bool) -> Option<u64> {
    let mut value = 0u64;
    let mut at = 0;
    while let Some(digit) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        at += 1;
    }
    if at == 0 || has_dot && text.get(at) != Some(&b'.') {
        return None;
    }
    *text = &text[at + usize::from(has_dot)..];
    Some(value)
}

#[cfg(test)]
mod tests;
