//! Fairness between channels: during the broadcast of a busy channel, others are delivered and publishes are answered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::many_clients::{StreamFleet, publish_numbered};
use crate::prelude::*;

/// Most events of the busy channel that not all streams have received: the broadcast never ends, and stays bounded.
const OUTSTANDING_MAX: u64 = 600;
const BATCH: u64 = 50;
/// On a busy machine the streams may have received everything before this thread checks; then it repeats the check.
const PUBLISHES_MORE_MAX: usize = 200;

/// Publishes to a channel without a pause until `is_over`, and counts the events.
fn flood(hub: &TestHub, busy: &str, fleet: &StreamFleet, published: &AtomicU64, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        let from = published.load(Ordering::SeqCst);
        if from - fleet.received() < OUTSTANDING_MAX {
            publish_numbered(hub, busy, from..from + BATCH, 60);
            published.fetch_add(BATCH, Ordering::SeqCst);
        } else {
            thread::yield_now();
        }
    }
}

/// Floods one channel of so many streams and publishes to another. The flood continues until all streams of the other channel
/// have their events and one publish was answered within the flood.
#[track_caller]
fn assert_delivery_within_a_flood(streams: usize, publishes: usize) {
    let hub = TestHub::in_memory(&[("TIDINGS_LOG_RETENTION_EVENTS", "10000000")]);
    let fleet = StreamFleet::open(&hub, "busy", streams);
    // Shards get connections in turn: with more streams than cores, every shard has some.
    let mut quiet: Vec<SseReader> = (0..32).map(|_| hub.subscribe("/api/v1/events/quiet")).collect();
    quiet.iter_mut().for_each(|reader| drop(reader.position()));
    let (published, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        // The flood ends with this function, also in a panic.
        let _end = StopOnDrop(&is_over);
        scope.spawn(|| flood(&hub, "busy", &fleet, &published, &is_over));
        let (mut within, mut n) = (0, 0);
        while n < publishes || within == 0 {
            assert!(n < publishes + PUBLISHES_MORE_MAX, "no publish was answered within the broadcast");
            let before = published.load(Ordering::SeqCst);
            eventually("the flood continues", || published.load(Ordering::SeqCst) > before);
            hub.publish("quiet", format!("quiet {n}"));
            // The publish is answered while events of the busy channel are still being delivered.
            within += usize::from(fleet.received() < published.load(Ordering::SeqCst));
            for reader in &mut quiet {
                assert_eq!(reader.data(), format!("quiet {n}"));
            }
            fleet.assert_in_order();
            n += 1;
        }
    });
    fleet.wait_for(published.load(Ordering::SeqCst));
}

/// Ends a flood when it is dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn publish_is_answered_and_delivered_during_a_broadcast_to_thousands() {
    assert_delivery_within_a_flood(3000, 5);
}

#[test]
fn flooded_channel_of_one_stream_does_not_starve_its_neighbours() {
    assert_delivery_within_a_flood(1, 50);
}
