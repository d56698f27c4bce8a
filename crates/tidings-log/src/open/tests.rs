use std::fs;
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidings_protocol::{EventId, body::GapReason};

use super::*;
use crate::barriers::Waiter;
use crate::replica::OffsetLookup;
use crate::resume::{ResumePoint, Start};
use crate::testing::{TestDir, TestWorld, append_each, disk_log, new_entry, subscriptions};

/// A stream that waits.
#[derive(Default)]
struct Stream(AtomicUsize);

impl Waiter for Stream {
    fn on_barrier(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A directory with the events `a` and `b`, and its unread log.
fn unread() -> (TestDir, Log, UnreadLog) {
    let (directory, environment) = (TestDir::new(), TestWorld::new(1));
    let (log, _) = disk_log(&LogSettings::default(), &directory, &environment);
    append_each(&log, [new_entry("a", "first"), new_entry("b", "second")]);
    log.close().unwrap();
    drop(log);
    let (log, unread) = Log::begin(&LogSettings::default(), Some(directory.path()), environment).unwrap();
    (directory, log, unread.unwrap())
}

fn unsure(log: &Log, start: &Start) -> u64 {
    match log.find(start, &subscriptions(&["**"]), None) {
        OffsetLookup::Unsure(barrier) => barrier,
        OffsetLookup::At(resume_point) => panic!("a position in a log that is not open: {resume_point:?}"),
    }
}

fn found(log: &Log, start: &Start, barrier: Option<u64>) -> ResumePoint {
    match log.find(start, &subscriptions(&["**"]), barrier) {
        OffsetLookup::At(resume_point) => *resume_point,
        OffsetLookup::Unsure(barrier) => panic!("barrier {barrier} of an open log"),
    }
}

#[test]
fn stream_that_waited_for_the_log_misses_nothing_that_was_appended_since() {
    let (_directory, log, unread) = unread();
    let after_foreign = Start::After("0123456789abcdef-9-00000001".into());
    let starts = [Start::Now, Start::WholeHistory, after_foreign.clone()];
    let barriers = starts.each_ref().map(|start| unsure(&log, start));
    let stream = Arc::new(Stream::default());
    let waiter: Weak<dyn Waiter> = Arc::downgrade(&(stream.clone() as Arc<dyn Waiter>));
    barriers.iter().for_each(|barrier| log.barriers().wait(*barrier, waiter.clone()));
    assert!(!log.opening().is_open() && !log.barriers().is_synced() && log.writable().is_err());

    let (read, recovered) = unread.read(&mut |_, _| true).unwrap();
    assert_eq!((recovered.entries, recovered.head, recovered.lost), (2, 2, None));
    log.take_over(read);
    assert_eq!(stream.0.load(Ordering::Relaxed), 3);
    append_each(&log, [new_entry("a", "third")]);
    let places = [0, 1, 2].map(|index| found(&log, &starts[index], Some(barriers[index])));
    assert_eq!(places.each_ref().map(|place| place.cursor), [2, 0, 0]);
    assert_eq!(places.each_ref().map(|place| place.gap.is_some()), [false, false, true]);
    // A stream that opens now waits for nothing.
    assert_eq!(found(&log, &Start::Now, None).cursor, 3);
    assert!(found(&log, &after_foreign, None).gap.is_some());
    assert!(log.opening().is_open() && log.barriers().is_synced() && log.writable().is_ok());
}

#[test]
fn log_that_is_not_open_takes_nothing_and_is_closed_without_a_trace() {
    let (directory, log, unread) = unread();
    assert!(matches!(log.append(vec![new_entry("a", "x")]), Err(StoreError::Unopened)));
    let ended = unread.read(&mut |files_read, files| {
        log.opening().note_read(files_read, files);
        false
    });
    assert!(matches!(ended, Err(OpenError::Ended)));
    assert_eq!(log.opening().progress().to_string(), "the log is being opened: 0 of 1 files are read");
    log.close().unwrap();
    let (_, recovered) = disk_log(&LogSettings::default(), &directory, &TestWorld::new(2));
    assert_eq!((recovered.entries, recovered.lost), (2, None));
}

#[test]
fn epochs_are_bounded_and_the_oldest_are_forgotten_first() {
    let directory = TestDir::new();
    let environment = TestWorld::new(1);
    let (log, _) = disk_log(&LogSettings::default(), &directory, &environment);
    let mut checkpoint = log.checkpoint(&|_| true);
    drop(log);
    let row = |epoch| EpochRow { epoch, begins_after: 0, lost: LostChannels::None };
    checkpoint.epochs = (1..=EPOCHS_MAX as u64).map(row).collect();
    checkpoint.number = 1 << 52;
    fs::write(directory.path().join("checkpoint"), checkpoint.encode()).unwrap();
    let (log, recovered) = disk_log(&LogSettings::default(), &directory, &environment);
    assert_eq!(recovered.lost, None);
    assert_eq!(log.state().epochs.len(), EPOCHS_MAX);
    let reason = |log: &Log, epoch| {
        let start = Start::After(EventId::new(Epoch(epoch), 0, Tag(0)).to_string());
        log.resume(&start, &subscriptions(&["a"])).gap.map(|gap| gap.reason)
    };
    assert_eq!(reason(&log, 1), Some(GapReason::Epoch));
    assert_eq!(reason(&log, 2), None);
}
