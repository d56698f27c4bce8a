//! What was published and what each stream saw of it: losses, repeats and order.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::stamp::Stamp;

/// Holes that are remembered, so that what fills one later is known to be late and not a repeat.
const HOLES_MAX: usize = 100_000;

/// Every event that was published, by lane.
#[derive(Debug)]
pub struct Ledger {
    lanes_each: usize,
    /// The next number of each lane; those of one channel stand together.
    next: Vec<u32>,
    /// Numbers of which nobody knows whether they were published, by lane, in order.
    doubtful: BTreeMap<usize, Vec<Range<u32>>>,
    /// What streams have missed, by stream and lane.
    holes: BTreeMap<(usize, u16), Vec<Range<u32>>>,
    holes_count: usize,
}

/// What one stream has seen of one lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lane {
    /// The number that comes next.
    next: u32,
    leap: Leap,
}

/// Why the next number may be a later one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Leap {
    /// It may not.
    #[default]
    None,
    /// The server told of a gap.
    Told,
    /// The stream was away, and the server gave no id to resume after.
    Away,
}

/// What streams saw, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events that came for the first time.
    pub received: u64,
    /// Events that were surely published and did not come although later ones did, or that never came.
    pub lost: u64,
    /// The same, where the server told of a gap.
    pub told: u64,
    /// The same, while a stream was away that could not resume.
    pub away: u64,
    /// Events that came once more.
    pub repeated: u64,
    /// Events that came after a later one.
    pub reordered: u64,
    /// Gaps that the server told of.
    pub gaps: u64,
    /// Events that are none of this run.
    pub foreign: u64,
}

impl Tally {
    /// Whether nothing was lost silently, repeated or out of order.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.repeated == 0 && self.reordered == 0
    }
}

impl Ledger {
    /// A ledger of `channels`, on each of which `lanes_each` publish.
    #[must_use]
    pub fn new(channels: usize, lanes_each: usize) -> Self {
        Self {
            lanes_each,
            next: vec![0; channels * lanes_each],
            doubtful: BTreeMap::new(),
            holes: BTreeMap::new(),
            holes_count: 0,
        }
    }

    /// How many lanes a channel has.
    #[must_use]
    pub fn lanes_each(&self) -> usize {
        self.lanes_each
    }

    /// The next number of a lane, which is now published.
    pub fn take(&mut self, channel: u32, lane: u16) -> u32 {
        let next = &mut self.next[channel as usize * self.lanes_each + usize::from(lane)];
        *next += 1;
        *next - 1
    }

    /// Says that the newest number of a lane may not have been published. Its next one must not be under way yet.
    pub fn doubt(&mut self, channel: u32, lane: u16, number: u32) {
        let ranges = self.doubtful.entry(channel as usize * self.lanes_each + usize::from(lane)).or_default();
        match ranges.last_mut() {
            Some(last) if last.end == number => last.end = number + 1,
            _ => ranges.push(number..number + 1),
        }
    }

    /// How many events were surely published on a channel.
    #[must_use]
    pub fn published(&self, channel: u32) -> u64 {
        let first = channel as usize * self.lanes_each;
        (first..first + self.lanes_each).map(|at| length(&self.certain(at, 0..self.next[at]))).sum()
    }

    /// What a stream that begins now has seen of the lanes of a channel.
    #[must_use]
    pub fn lanes(&self, channel: u32) -> Box<[Lane]> {
        let first = channel as usize * self.lanes_each;
        let lanes = &self.next[first..first + self.lanes_each];
        lanes.iter().map(|next| Lane { next: *next, leap: Leap::None }).collect()
    }

    /// Notes that a stream received an event, and says whether for the first time.
    pub fn note(&mut self, stream: usize, lanes: &mut [Lane], stamp: Stamp, tally: &mut Tally) -> bool {
        let Some(lane) = lanes.get_mut(usize::from(stamp.lane)) else {
            tally.foreign += 1;
            return false;
        };
        let expected = lane.next;
        if stamp.number < expected {
            let is_late = self.fill(stream, stamp);
            tally.repeated += u64::from(!is_late);
            tally.reordered += u64::from(is_late);
            tally.received += u64::from(is_late);
            tally.lost -= u64::from(is_late && tally.lost > 0);
            return is_late;
        }
        let leap = std::mem::take(&mut lane.leap);
        lane.next = stamp.number + 1;
        tally.received += 1;
        if stamp.number > expected {
            self.missed(stream, stamp, leap, expected, tally);
        }
        true
    }

    /// Notes that the server told a stream of a gap.
    pub fn note_gap(lanes: &mut [Lane], tally: &mut Tally) {
        tally.gaps += 1;
        lanes.iter_mut().for_each(|lane| lane.leap = Leap::Told);
    }

    /// Notes that a stream begins anew without an id to resume after.
    pub fn note_away(lanes: &mut [Lane]) {
        lanes.iter_mut().for_each(|lane| lane.leap = Leap::Away);
    }

    /// Counts what a stream did not get of all that was published on its channel.
    pub fn settle(&self, channel: u32, lanes: &[Lane], tally: &mut Tally) {
        for (at, lane) in lanes.iter().enumerate() {
            let lane_at = channel as usize * self.lanes_each + at;
            let missing = length(&self.certain(lane_at, lane.next..self.next[lane_at]));
            *lane.leap.count(tally) += missing;
        }
    }

    fn missed(&mut self, stream: usize, stamp: Stamp, leap: Leap, expected: u32, tally: &mut Tally) {
        let lane_at = stamp.channel as usize * self.lanes_each + usize::from(stamp.lane);
        let missing = self.certain(lane_at, expected..stamp.number);
        *leap.count(tally) += length(&missing);
        if leap == Leap::None && self.holes_count + missing.len() <= HOLES_MAX {
            self.holes_count += missing.len();
            self.holes.entry((stream, stamp.lane)).or_default().extend(missing);
        }
    }

    /// Takes a number out of a stream's holes; false where it is in none.
    fn fill(&mut self, stream: usize, stamp: Stamp) -> bool {
        let Some(holes) = self.holes.get_mut(&(stream, stamp.lane)) else { return false };
        let Some(at) = holes.iter().position(|hole| hole.contains(&stamp.number)) else { return false };
        let hole = holes.swap_remove(at);
        let parts = [hole.start..stamp.number, stamp.number + 1..hole.end];
        holes.extend(parts.into_iter().filter(|part| !part.is_empty()));
        true
    }

    /// The parts of a stretch of a lane that were surely published.
    fn certain(&self, lane_at: usize, stretch: Range<u32>) -> Vec<Range<u32>> {
        let mut parts = Vec::new();
        let mut from = stretch.start;
        let doubtful = self.doubtful.get(&lane_at).map_or(&[][..], Vec::as_slice);
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

impl Leap {
    /// Where events that were missed for this reason are counted.
    fn count(self, tally: &mut Tally) -> &mut u64 {
        match self {
            Self::None => &mut tally.lost,
            Self::Told => &mut tally.told,
            Self::Away => &mut tally.away,
        }
    }
}

fn length(ranges: &[Range<u32>]) -> u64 {
    ranges.iter().map(|range| u64::from(range.end - range.start)).sum()
}

#[cfg(test)]
mod tests;
