//! Sends new entries of the log to the idle streams of a shard.

use std::{sync::atomic::Ordering, time::Instant};

use tidings_protocol::Epoch;

use super::Shard;
use crate::{
    log::{NewEntries, entry::Entry},
    transport::shard::{
        chunk_writer::chunk_of, context::SlotAction, slot::Slot, stream_phase::BroadcastTick,
    },
};

/// Entries that are enqueued before the shard polls its sockets again.
const ENTRIES_MAX: usize = 64;
/// Streams with a queued chunk, above which no further entry is enqueued.
const DIRTY_MAX: usize = 4096;

impl Shard {
    /// Sends new entries to some of the idle streams; the next call goes on with the others.
    pub(super) fn broadcast(&mut self, runnable: &mut Vec<usize>) {
        if self.dirty.is_empty() && !self.mailbox.has_new_entries.load(Ordering::Relaxed) {
            return;
        }
        let tick = BroadcastTick { now: Instant::now(), now_millis: self.log.now() };
        if self.dirty.is_empty() {
            self.enqueue_new_entries(&tick, runnable);
        }
        let later = self.dirty.len().saturating_sub(self.pacing.writes());
        let mut now = self.dirty.split_off(later);
        for key in now.drain(..) {
            self.poll_slot(key, runnable, |slot, context| match slot.stream() {
                Some(stream) => stream.send_queued(&tick, context),
                None => SlotAction::Wait,
            });
        }
        if self.dirty.is_empty() {
            // Keeps the capacity.
            self.dirty = now;
            if let Some(published_at) = self.oldest_queued.take() {
                self.context.metrics.events.delivery_lag(self.log.now().saturating_sub(published_at));
            }
        }
    }

    /// Enqueues the entries that were appended since the last call.
    fn enqueue_new_entries(&mut self, tick: &BroadcastTick, runnable: &mut Vec<usize>) {
        if !self.mailbox.has_new_entries.swap(false, Ordering::SeqCst) {
            return;
        }
        let NewEntries { entries, head, newest, seen } =
            self.log.entries_after(self.broadcast_offset, self.transitions_applied, ENTRIES_MAX);
        let Some(entries) = entries else {
            // The log's cache has dropped some of the new entries: each stream reads them for itself.
            (self.broadcast_offset, self.transitions_applied) = (head, seen);
            for key in self.occupied_slots() {
                self.poll_slot(key, runnable, |slot, context| match slot.stream() {
                    Some(stream) => stream.serve(context),
                    None => SlotAction::Wait,
                });
            }
            return;
        };
        for entry in &entries {
            self.enqueue(entry, newest, tick);
            self.broadcast_offset = entry.offset;
            if self.dirty.len() > DIRTY_MAX {
                break;
            }
        }
        if self.broadcast_offset < head {
            self.mailbox.has_new_entries.store(true, Ordering::SeqCst);
        }
    }

    /// Enqueues an entry for each idle stream that subscribes to it.
    fn enqueue(&mut self, entry: &Entry, newest: Epoch, tick: &BroadcastTick) {
        let Self { subscriptions, slots, dirty, oldest_queued, .. } = self;
        // All streams share one chunk. It is not encoded if no stream subscribes.
        let mut chunk = None;
        for channel in &entry.channels {
            subscriptions.for_each_match(channel, &mut |key| {
                let chunk = chunk.get_or_insert_with(|| chunk_of(&entry.frame(newest, &[])));
                let stream = slots.get_mut(*key).and_then(Option::as_mut).and_then(Slot::stream);
                if stream.is_some_and(|stream| stream.enqueue(entry, chunk, tick)) {
                    dirty.push(*key);
                    oldest_queued.get_or_insert(entry.published_at);
                }
            });
        }
    }
}
