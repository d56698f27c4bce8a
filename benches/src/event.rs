//! The 64-byte JSON event of all measurements: who published it, which of that publisher's it is, and when.

/// Bytes of every event's data.
pub(crate) const BYTES: usize = 64;

const NUMBER_AT: usize = 6;
const TIME_AT: usize = 23;

/// One event as its receiver reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    /// The publisher, below 100.
    pub(crate) source: usize,
    /// Counted from 0 for each publisher and channel.
    pub(crate) number: u64,
    /// Nanoseconds on the clock of this process.
    pub(crate) time: u64,
}

impl Event {
    /// Its text: always [`BYTES`] long.
    pub(crate) fn text(self) -> String {
        let Self { source, number, time } = self;
        format!(r#"{{"n":"{source:02}{number:08}","t":"{time:016}","p":"{:16}"}}"#, "")
    }

    /// Reads what [`Event::text`] wrote; anything else is none.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        if text.len() != BYTES {
            return None;
        }
        let id = digits(&text[NUMBER_AT..NUMBER_AT + 10])?;
        let time = digits(&text[TIME_AT..TIME_AT + 16])?;
        Some(Self { source: usize::try_from(id / 100_000_000).ok()?, number: id % 100_000_000, time })
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter()
        .try_fold(0u64, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests;
