//! Events of all benchmarks: 64 bytes of JSON with a stamp.

use tidings_load::{Stamp, StampCodec};

/// Bytes of an event's data, unless a benchmark sets another size.
pub(crate) const EVENT_BYTES: usize = 64;

/// Run number of all events: one fleet reads what another one stored.
pub(crate) const RUN: u32 = 0x7161_5d09;

/// Channel of all stamps. Each stream has one channel, so its events are told apart by producer and number.
pub(crate) const CHANNEL: u32 = 0;

/// Stamp of an event; `number` counts from 0 for each producer and channel.
pub(crate) fn stamp(producer: u16, number: u64, micros: u64) -> Stamp {
    let number = u32::try_from(number).expect("no run publishes so many events");
    Stamp { channel: CHANNEL, producer, number, micros }
}

/// Data of an event, `bytes` long.
pub(crate) fn data(codec: &StampCodec, stamp: Stamp, bytes: usize) -> String {
    let mut text = Vec::with_capacity(bytes);
    codec.write(stamp, bytes, &mut text);
    String::from_utf8(text).expect("stamps are ASCII")
}
