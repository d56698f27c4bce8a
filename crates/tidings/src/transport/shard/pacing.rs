//! Number of writes of a broadcast that a shard thread makes before it polls its sockets again.

/// Writes between two polls of a shard that serves requests meanwhile, and of one that only writes.
const WRITES: (usize, usize) = (8, 128);
/// Polls in a row that may find nothing before the writes between them are doubled.
///
/// A publisher that waits for each answer is back within a few polls. A lower number makes the shard miss it, so each
/// sweep over the streams finds fewer new events. A higher one costs a broadcast of one event more polls.
const EMPTY_POLLS_MAX: u32 = 16;

/// The number of writes, adapted to how often a poll finds something.
#[derive(Debug)]
pub(super) struct PollPacing {
    writes: usize,
    empty_polls: u32,
}

impl PollPacing {
    pub(super) fn new() -> Self {
        Self { writes: WRITES.1, empty_polls: 0 }
    }

    /// Writes that may be made before the next poll.
    pub(super) fn writes(&self) -> usize {
        self.writes
    }

    /// Notes whether a poll found an event, of a socket or in the mailbox.
    pub(super) fn note_poll(&mut self, found: bool) {
        if found {
            (self.writes, self.empty_polls) = (WRITES.0, 0);
        } else if self.empty_polls < EMPTY_POLLS_MAX {
            self.empty_polls += 1;
        } else {
            self.writes = (self.writes * 2).min(WRITES.1);
        }
    }
}

#[cfg(test)]
mod tests;
