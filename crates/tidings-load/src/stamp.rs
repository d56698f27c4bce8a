//! What every event carries, so that its receipt says which it was and how long it took.

use std::io::Write;

use memchr::memmem;

/// One event's place and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The channel, counted from 0.
    pub channel: u32,
    /// Who publishes it: one publisher after another has numbers of its own, since only its own order is known.
    pub lane: u16,
    /// Counted from 0 in each lane of each channel.
    pub number: u32,
    /// When it was sent, in microseconds on the clock of the load.
    pub micros: u64,
}

/// Bytes of the shortest event that always has room for its stamp.
const PAD: &[u8; 64] = b"................................................................";

/// Knows the events of one run from all others.
#[derive(Debug)]
pub struct Marker {
    run: u32,
    finder: memmem::Finder<'static>,
}

impl Marker {
    /// The marker of a run; runs that may meet on one server need different ones.
    #[must_use]
    pub fn new(run: u32) -> Self {
        Self { run, finder: memmem::Finder::new(format!("{run:08x}.").as_bytes()).into_owned() }
    }

    /// Appends an event's text: a JSON object of `bytes` bytes, or as few more as the stamp needs.
    pub fn write(&self, stamp: Stamp, bytes: usize, text: &mut Vec<u8>) {
        let end = text.len() + bytes;
        let Stamp { channel, lane, number, micros } = stamp;
        // No quote within the stamp: it is found as well where a server puts the text into a JSON string.
        let run = self.run;
        let _ = write!(text, r#"{{"bench":"{run:08x}.{channel}.{lane}.{number}.{micros}","pad":""#);
        while text.len() + 2 < end {
            let missing = end - 2 - text.len();
            text.extend_from_slice(&PAD[..missing.min(PAD.len())]);
        }
        text.extend_from_slice(b"\"}");
    }

    /// Finds the stamp in a text that may hold it somewhere.
    #[must_use]
    pub fn read(&self, text: &[u8]) -> Option<Stamp> {
        let at = self.finder.find(text)? + self.finder.needle().len();
        let mut rest = &text[at..];
        let channel = u32::try_from(number(&mut rest, true)?).ok()?;
        let lane = u16::try_from(number(&mut rest, true)?).ok()?;
        let count = u32::try_from(number(&mut rest, true)?).ok()?;
        Some(Stamp { channel, lane, number: count, micros: number(&mut rest, false)? })
    }
}

/// Reads digits, and the dot after them where one has to follow.
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
