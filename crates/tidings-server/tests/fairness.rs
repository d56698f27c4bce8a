//! What a busy channel leaves to others: they are told in between, and publishes are answered while it goes out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tidings_testkit::{SseReader, TempDirectory, eventually};

use crate::hub::TestHub;
use crate::many_clients::{Crowd, publish_numbered};

/// Events that are published to a busy channel and not yet received by all: the broadcast never ends, and stays bounded.
const OUTSTANDING_MAX: u64 = 600;
const BATCH: u64 = 50;
/// On a busy machine the crowd may have received all by the time that this side looks: then it looks again.
const PUBLISHES_MORE_MAX: usize = 200;

/// Publishes to a channel without a pause until it is told to stop, and answers how much that was.
fn flood(hub: &TestHub, busy: &str, crowd: &Crowd, published: &AtomicU64, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        let from = published.load(Ordering::SeqCst);
        if from - crowd.received() < OUTSTANDING_MAX {
            publish_numbered(hub, busy, from..from + BATCH, 60);
            published.fetch_add(BATCH, Ordering::SeqCst);
        } else {
            thread::yield_now();
        }
    }
}

/// Floods one channel of so many streams, and publishes to another, all of whose streams are told before the flood ends:
/// it goes on until they were, and one publish was answered within it.
#[track_caller]
fn others_are_told_within_the_flood(streams: usize, publishes: usize) {
    let directory = TempDirectory::create();
    let hub = TestHub::in_memory(&directory, &[("TIDINGS_LOG_RETENTION_EVENTS", "10000000")]);
    let crowd = Crowd::open(&hub, "busy", streams);
    // Shards take connections in turn: more than there are cores, some sit on every shard.
    let mut quiet: Vec<SseReader> = (0..32).map(|_| hub.subscribe("/api/v1/events/quiet")).collect();
    quiet.iter_mut().for_each(|reader| drop(reader.position()));
    let (published, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        // However this ends, the flood does.
        let _end = End(&is_over);
        scope.spawn(|| flood(&hub, "busy", &crowd, &published, &is_over));
        let (mut within, mut n) = (0, 0);
        while n < publishes || within == 0 {
            assert!(n < publishes + PUBLISHES_MORE_MAX, "no publish was answered within the broadcast");
            let before = published.load(Ordering::SeqCst);
            eventually("the flood goes on", || published.load(Ordering::SeqCst) > before);
            hub.publish("quiet", format!("quiet {n}"));
            // Answered, although the busy channel's events are still on their way.
            within += usize::from(crowd.received() < published.load(Ordering::SeqCst));
            for reader in &mut quiet {
                assert_eq!(reader.data(), format!("quiet {n}"));
            }
            crowd.is_well();
            n += 1;
        }
    });
    crowd.wait_for(published.load(Ordering::SeqCst));
}

/// Ends a flood when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn publish_is_answered_and_told_while_a_broadcast_to_thousands_goes_out() {
    others_are_told_within_the_flood(3000, 5);
}

#[test]
fn channel_of_one_stream_that_is_flooded_does_not_starve_those_beside_it() {
    others_are_told_within_the_flood(1, 50);
}
