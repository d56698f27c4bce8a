//! The JSON event of all measurements: who published it, which of that publisher's it is, and when.

use tidings_load::{Marker, Stamp};

/// Bytes of an event's data, where nothing else is said.
pub(crate) const EVENT_BYTES: usize = 64;

/// The run of all events: what one swarm stored is read by another.
pub(crate) const RUN: u32 = 0x7161_5d09;

/// The channel of all stamps: a channel's events are counted by whoever publishes them.
pub(crate) const CHANNEL: u32 = 0;

/// One event as its receiver reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    /// The publisher.
    pub(crate) source: u16,
    /// Counted from 0 for each publisher and channel.
    pub(crate) number: u64,
    /// Microseconds on the clock of the swarm.
    pub(crate) time: u64,
}

impl Event {
    /// Its text, of so many bytes.
    pub(crate) fn text(self, marker: &Marker, bytes: usize) -> String {
        let number = u32::try_from(self.number).expect("fewer events than that are published");
        let stamp = Stamp { channel: CHANNEL, lane: self.source, number, micros: self.time };
        let mut text = Vec::with_capacity(bytes);
        marker.write(stamp, bytes, &mut text);
        String::from_utf8(text).expect("stamps are ASCII")
    }
}
