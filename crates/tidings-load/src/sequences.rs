//! Sequence numbers of published events, and the check of each stream's deliveries: losses, repeats, order.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::stamp::Stamp;

/// Remembered holes. An event that fills one is reordered; any other old number is a repeat.
const HOLES_MAX: usize = 100_000;

/// Numbers published so far, by producer. A producer is one publisher of one channel: only its own order is known.
#[derive(Debug)]
pub struct SequenceTracker {
    producers_per_channel: usize,
    /// Next number of each producer, grouped by channel.
    next: Vec<u32>,
    /// Numbers whose publish had no certain outcome, by producer, ascending.
    doubtful: BTreeMap<usize, Vec<Range<u32>>>,
    /// Numbers that a stream has missed, by stream and producer.
    holes: BTreeMap<(usize, u16), Vec<Range<u32>>>,
    holes_count: usize,
}

/// Position of one stream in the sequence of one producer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProducerCursor {
    /// Number expected next.
    next: u32,
    leap: SkipCause,
}

/// Reason for which the next number may be higher than expected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum SkipCause {
    /// No reason: missing numbers are lost.
    #[default]
    None,
    /// The server sent a gap.
    Reported,
    /// The stream was away and had no id to resume after.
    Away,
}

/// Counts of deliveries and their faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Events received for the first time.
    pub received: u64,
    /// Events certainly published and not received, without an explanation.
    pub lost: u64,
    /// Missing events that the server reported by a gap.
    pub reported: u64,
    /// Missing events of a stream that was away and could not resume.
    pub away: u64,
    /// Events received again.
    pub repeated: u64,
    /// Events received after a later one.
    pub reordered: u64,
    /// Gaps received.
    pub gaps: u64,
    /// Events that do not belong to this run.
    pub foreign: u64,
}

impl SequenceTracker {
    /// Creates a tracker of `channels` channels.
    pub fn new(channels: usize, producers_per_channel: usize) -> Self {
        Self {
            producers_per_channel,
            next: vec![0; channels * producers_per_channel],
            doubtful: BTreeMap::new(),
            holes: BTreeMap::new(),
            holes_count: 0,
        }
    }

    /// Index of a producer among those of all channels.
    fn lane(&self, channel: u32, producer: u16) -> usize {
        channel as usize * self.producers_per_channel + usize::from(producer)
    }

    /// Takes the next number of a producer.
    pub fn take(&mut self, channel: u32, producer: u16) -> u32 {
        let lane = self.lane(channel, producer);
        self.next[lane] += 1;
        self.next[lane] - 1
    }

    /// Notes that the newest number of a producer may not have been published. Call it before the producer's next
    /// [`Self::take`].
    pub fn doubt(&mut self, channel: u32, producer: u16, number: u32) {
        let ranges = self.doubtful.entry(self.lane(channel, producer)).or_default();
        match ranges.last_mut() {
            Some(last) if last.end == number => last.end = number + 1,
            _ => ranges.push(number..number + 1),
        }
    }

    /// Number of events certainly published on a channel.
    pub fn published(&self, channel: u32) -> u64 {
        let first = self.lane(channel, 0);
        let lanes = first..first + self.producers_per_channel;
        lanes.map(|lane| length(&self.certain(lane, 0..self.next[lane]))).sum()
    }

    /// Cursors of a stream that begins now.
    pub fn cursors(&self, channel: u32) -> Box<[ProducerCursor]> {
        let first = self.lane(channel, 0);
        let cursors = &self.next[first..first + self.producers_per_channel];
        cursors.iter().map(|next| ProducerCursor { next: *next, leap: SkipCause::None }).collect()
    }

    /// Notes a received event; returns whether it arrived for the first time.
    pub fn note(
        &mut self,
        stream: usize,
        cursors: &mut [ProducerCursor],
        stamp: Stamp,
        counts: &mut DeliveryCounts,
    ) -> bool {
        let Some(producer) = cursors.get_mut(usize::from(stamp.producer)) else {
            counts.foreign += 1;
            return false;
        };
        let expected = producer.next;
        if stamp.number < expected {
            let is_late = self.fill(stream, stamp);
            counts.repeated += u64::from(!is_late);
            counts.reordered += u64::from(is_late);
            counts.received += u64::from(is_late);
            counts.lost -= u64::from(is_late && counts.lost > 0);
            return is_late;
        }
        let leap = std::mem::take(&mut producer.leap);
        producer.next = stamp.number + 1;
        counts.received += 1;
        if stamp.number > expected {
            self.missed(stream, stamp, leap, expected, counts);
        }
        true
    }

    /// Notes that a stream received a gap.
    pub fn note_gap(cursors: &mut [ProducerCursor], counts: &mut DeliveryCounts) {
        counts.gaps += 1;
        cursors.iter_mut().for_each(|producer| producer.leap = SkipCause::Reported);
    }

    /// Notes that a stream begins again without an id to resume after.
    pub fn note_away(cursors: &mut [ProducerCursor]) {
        cursors.iter_mut().for_each(|producer| producer.leap = SkipCause::Away);
    }

    /// Counts the published events of a channel that a stream has not received.
    pub fn settle(&self, channel: u32, cursors: &[ProducerCursor], counts: &mut DeliveryCounts) {
        for (at, producer) in cursors.iter().enumerate() {
            let lane = self.lane(channel, 0) + at;
            let missing = length(&self.certain(lane, producer.next..self.next[lane]));
            *producer.leap.count(counts) += missing;
        }
    }

    fn missed(
        &mut self,
        stream: usize,
        stamp: Stamp,
        leap: SkipCause,
        expected: u32,
        counts: &mut DeliveryCounts,
    ) {
        let missing = self.certain(self.lane(stamp.channel, stamp.producer), expected..stamp.number);
        *leap.count(counts) += length(&missing);
        if leap == SkipCause::None && self.holes_count + missing.len() <= HOLES_MAX {
            self.holes_count += missing.len();
            self.holes.entry((stream, stamp.producer)).or_default().extend(missing);
        }
    }

    /// Removes a number from a stream's holes; returns whether it was in one.
    fn fill(&mut self, stream: usize, stamp: Stamp) -> bool {
        let Some(holes) = self.holes.get_mut(&(stream, stamp.producer)) else { return false };
        let Some(at) = holes.iter().position(|hole| hole.contains(&stamp.number)) else { return false };
        let hole = holes.swap_remove(at);
        let parts = [hole.start..stamp.number, stamp.number + 1..hole.end];
        holes.extend(parts.into_iter().filter(|part| !part.is_empty()));
        true
    }

    /// Parts of a range of numbers that were certainly published.
    fn certain(&self, lane: usize, stretch: Range<u32>) -> Vec<Range<u32>> {
        let mut parts = Vec::new();
        let mut from = stretch.start;
        let doubtful = self.doubtful.get(&lane).map_or(&[][..], Vec::as_slice);
        for doubt in doubtful.iter().filter(|doubt| doubt.end > stretch.start && doubt.start < stretch.end) {
            if from < doubt.start {
                parts.push(from..doubt.start);
            }
            from = doubt.end;
        }
        if from < stretch.end {
            parts.push(from..stretch.end);
        }
        parts
    }
}

impl SkipCause {
    /// Returns the count of events that are missing for this reason.
    fn count(self, counts: &mut DeliveryCounts) -> &mut u64 {
        match self {
            Self::None => &mut counts.lost,
            Self::Reported => &mut counts.reported,
            Self::Away => &mut counts.away,
        }
    }
}

fn length(ranges: &[Range<u32>]) -> u64 {
    ranges.iter().map(|range| u64::from(range.end - range.start)).sum()
}

#[cfg(test)]
mod tests;
