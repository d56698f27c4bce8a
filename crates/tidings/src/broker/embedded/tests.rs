//! The writer, with a store that fails on request.

mod model;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tidings_log::Idempotency;
use tidings_log::testing::{TestWorld, fillable_log, new_entry};
use tidings_protocol::ChannelName;

use super::*;
use crate::{config::LogSettings, metrics::tests::metrics};

/// Records its calls, each with the head of the log.
struct SinkCalls {
    log: Arc<Log>,
    list: Mutex<Vec<String>>,
}

impl SinkCalls {
    fn note(&self, what: &str) {
        self.list.lock().unwrap().push(format!("{what}, head {}", self.log.head().offset));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.list.lock().unwrap())
    }
}

impl DeliverySink for SinkCalls {
    fn wake_all(&self) {}

    fn take_interest_changes(&self) -> crate::broker::InterestChange {
        crate::broker::InterestChange::All(Vec::new())
    }

    fn interest(&self) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::Sender::new(0).subscribe()
    }

    fn on_appended(&self, entries: &[Arc<Entry>]) {
        let offsets: Vec<u64> = entries.iter().map(|entry| entry.offset).collect();
        self.note(&format!("stored {offsets:?}"));
    }

    fn deliver_transient(&self, _channels: &[ChannelName], transient: &TransientEvent) -> usize {
        self.note(&format!("transient after {}", transient.after));
        0
    }

    fn wake(&self, channels: &[ChannelName]) {
        self.note(&format!("wake {}", channels[0]));
    }
}

/// A writer that has not begun: publishes before its start make one batch.
struct Bench {
    broker: EmbeddedBroker,
    writer: Option<Writer>,
    thread: Option<std::thread::JoinHandle<()>>,
    log: Arc<Log>,
    calls: Arc<SinkCalls>,
    is_full: Arc<AtomicBool>,
}

impl Bench {
    fn new(keys_max: u64) -> Self {
        let settings = LogSettings { idempotency_keys: keys_max, ..LogSettings::default() };
        let (log, is_full) = fillable_log(&settings, TestWorld::new(1));
        let log = Arc::new(log);
        let calls = Arc::new(SinkCalls { log: log.clone(), list: Mutex::default() });
        let (broker, writer) = embedded(log.clone(), calls.clone(), metrics());
        Self { broker, writer: Some(writer), thread: None, log, calls, is_full }
    }

    /// Queues a publish, before the writer starts or while it runs.
    fn publish(&self, items: Vec<PendingEvent>) -> oneshot::Receiver<Result<Vec<PublishOutcome>, Error>> {
        let (answer, answered) = oneshot::channel();
        assert!(
            self.broker.queue.as_ref().unwrap().try_send(QueuedPublish { items, answer }).is_ok(),
            "the queue has room"
        );
        answered
    }

    fn start(&mut self) {
        let writer = self.writer.take().unwrap();
        self.thread = Some(std::thread::spawn(move || writer.run()));
    }

    /// Drops the broker, which ends the writer.
    fn end(self) {
        drop(self.broker);
        self.thread.unwrap().join().unwrap();
    }
}

fn stored(data: &str) -> PendingEvent {
    PendingEvent { entry: new_entry("a", data), is_stored: true }
}

fn passing(channel: &str) -> PendingEvent {
    PendingEvent { entry: new_entry(channel, "u"), is_stored: false }
}

fn keyed(key: &str, data: &str) -> PendingEvent {
    let mut fingerprint = [0; 16];
    fingerprint[..data.len()].copy_from_slice(data.as_bytes());
    let idempotency = Some(Idempotency { publisher: "p".into(), key: key.into(), fingerprint });
    PendingEvent { entry: NewEntry { idempotency, ..new_entry("a", data) }, is_stored: true }
}

fn offsets(outcome: Result<Vec<PublishOutcome>, Error>) -> Vec<Option<u64>> {
    outcome.unwrap().iter().map(|it| it.id().map(|id| id.offset)).collect()
}

#[tokio::test]
async fn repeats_get_the_first_answer_within_a_batch_and_later() {
    let mut bench = Bench::new(100);
    let first = bench.publish(vec![keyed("k", "1")]);
    let repeat = bench.publish(vec![keyed("k", "1")]);
    bench.start();
    let first = first.await.unwrap().unwrap();
    assert_eq!(first, repeat.await.unwrap().unwrap());
    assert_eq!(first, bench.broker.append(vec![keyed("k", "1")]).await.unwrap());
    assert_eq!(bench.log.head().offset, 1);
    bench.end();
}

#[tokio::test]
async fn another_event_under_a_known_key_is_a_conflict_with_its_index() {
    let mut bench = Bench::new(100);
    let first = bench.publish(vec![keyed("k", "1")]);
    let conflict = bench.publish(vec![stored("x"), keyed("k", "2")]);
    bench.start();
    assert_eq!(offsets(first.await.unwrap()), [Some(1)]);
    let error = conflict.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.index()), (Code::IdempotencyConflict, Some(1)));
    assert_eq!(bench.log.head().offset, 1, "nothing of the batch is stored");
    bench.end();
}

#[tokio::test]
async fn keys_past_the_bound_are_refused_and_publishes_without_go_on() {
    let mut bench = Bench::new(2);
    let answers = [
        bench.publish(vec![keyed("1", "1")]),
        bench.publish(vec![keyed("2", "2"), keyed("3", "3")]),
        bench.publish(vec![keyed("4", "4")]),
        bench.publish(vec![keyed("5", "5")]),
        bench.publish(vec![stored("x")]),
        bench.publish(vec![keyed("1", "1")]),
    ];
    bench.start();
    let mut outcomes = Vec::new();
    for answer in answers {
        let outcome = answer.await.unwrap();
        outcomes.push(outcome.map(|published| published[0].id().unwrap().offset).map_err(|it| it.code()));
    }
    let full = Err(Code::IdempotencyKeysFull);
    assert_eq!(outcomes, [Ok(1), full, Ok(2), full, Ok(3), Ok(1)]);
    bench.end();
}

#[tokio::test]
async fn transient_events_are_delivered_before_their_batch_is_visible() {
    let mut bench = Bench::new(100);
    let answer = bench.publish(vec![passing("b"), stored("1"), passing("c"), stored("2"), passing("d")]);
    bench.start();
    assert_eq!(offsets(answer.await.unwrap()), [None, Some(1), None, Some(2), None]);
    assert_eq!(
        bench.calls.take(),
        [
            "transient after 0, head 0",
            "transient after 1, head 0",
            "transient after 2, head 0",
            "stored [1, 2], head 2",
            "wake c, head 2",
            "wake d, head 2",
        ]
    );
    bench.end();
}

#[tokio::test]
async fn refused_entries_stay_invisible_and_the_next_publish_is_tried() {
    let mut bench = Bench::new(100);
    bench.is_full.store(true, Ordering::Relaxed);
    let answers = [bench.publish(vec![keyed("k", "1")]), bench.publish(vec![stored("2"), passing("b")])];
    bench.start();
    for answer in answers {
        assert_eq!(answer.await.unwrap().unwrap_err().code(), Code::NotStored);
    }
    assert_eq!(bench.calls.take(), Vec::<String>::new());
    assert_eq!(bench.log.head().offset, 0);
    bench.is_full.store(false, Ordering::Relaxed);
    let again = bench.broker.append(vec![keyed("k", "1")]).await;
    assert_eq!(offsets(again), [Some(1)], "a key of what was not stored is free");
    bench.end();
}

#[tokio::test(start_paused = true)]
async fn a_publish_without_an_answer_in_time_has_an_unknown_outcome() {
    let bench = Bench::new(100);
    let error = bench.broker.append(vec![stored("x")]).await.unwrap_err();
    assert_eq!(error.code(), Code::OutcomeUnknown);
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_found_no_room_in_time_is_not_stored() {
    let bench = Bench::new(100);
    let answers: Vec<_> = (0..QUEUE_MAX).map(|_| bench.publish(vec![passing("b")])).collect();
    let error = bench.broker.append(vec![stored("x")]).await.unwrap_err();
    assert_eq!(error.code(), Code::NotStored);
    drop(answers);
}

#[tokio::test]
async fn panic_within_an_append_ends_the_writer_and_refuses_what_follows() {
    let mut bench = Bench::new(10);
    bench.start();
    bench.broker.append(vec![stored("before")]).await.unwrap();
    // Like an append on the thread of a publisher.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _watch = PanicWatch(&bench.broker.waker);
        let _committer = bench.broker.committer.lock();
        panic!("in the middle of an append");
    }));
    assert!(panicked.is_err());
    // Nothing else wakes it.
    bench.thread.take().unwrap().join().unwrap();
    let error = bench.broker.append(vec![stored("after")]).await.unwrap_err();
    assert_eq!(error.code(), Code::NotStored);
    assert_eq!(bench.log.head().offset, 1);
}
