use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidings_protocol::{Epoch, Tag};

use super::{open::FoundLog, segments::drop_ranges, *};
use crate::checkpoint::{EpochRow, LostChannels};
use crate::store::segment::{self, HEADER_BYTES, SegmentHeader};
use crate::testing::{TestDir, entry, new_entry};

const SMALL: Layout = Layout { segment_bytes: 1024, sync_each_batch: false };

/// Result of a start.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Found {
    entries: Vec<(u64, Tag, String)>,
    head: u64,
    head_tag: Tag,
    lost: Option<String>,
}

impl Found {
    fn offsets(&self) -> Vec<u64> {
        self.entries.iter().map(|(offset, ..)| *offset).collect()
    }
}

/// Begins to open a directory.
fn opening(directory: &TestDir, layout: Layout) -> FoundLog {
    open(directory.path(), lock_directory(directory.path()).unwrap(), layout).unwrap()
}

fn open_with(directory: &TestDir, layout: Layout) -> (DiskStore, Found) {
    let mut entries = Vec::new();
    let opening = opening(directory, layout);
    let checkpoint = opening.checkpoint().cloned().unwrap_or_default();
    let opened = opening
        .scan(&mut |_, _| true, &mut |entry| entries.push((entry.offset, entry.tag, entry.record_bytes)))
        .unwrap();
    let with_text = |(offset, tag, record_bytes): (u64, Tag, u32)| {
        let entry = opened.store.read(&[offset], Epoch(1)).unwrap().remove(0).unwrap();
        assert_eq!((entry.tag, entry.record_bytes()), (tag, record_bytes));
        (offset, tag, entry.data())
    };
    let entries = entries.into_iter().map(with_text).collect();
    // Like the log: the loss is recorded before the first client is served.
    opened.store.write_checkpoint(&checkpoint).unwrap();
    let found = Found { entries, head: opened.head, head_tag: opened.head_tag, lost: opened.lost };
    (opened.store, found)
}

fn start(directory: &TestDir) -> (DiskStore, Found) {
    open_with(directory, SMALL)
}

/// The loss that a start reports.
fn loss(directory: &TestDir) -> Option<String> {
    start(directory).1.lost
}

fn maintain(store: &DiskStore) {
    store.maintain(&|_| Checkpoint::default()).unwrap();
}

fn length_of(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// Truncates the newest file.
fn truncate_last(directory: &TestDir, length: u64) {
    File::options().write(true).open(last(directory)).unwrap().set_len(length).unwrap();
}

/// A directory after a process that wrote `batches` was killed.
fn killed_after(batches: &[u64]) -> (TestDir, Found) {
    let directory = TestDir::new();
    let (store, _) = start(&directory);
    let mut offset = 0;
    for entries in batches {
        let batch: Vec<_> = (0..*entries)
            .map(|_| {
                offset += 1;
                entry(new_entry("a", &format!("event {offset} {}", "x".repeat(60))), offset)
            })
            .collect();
        store.append(&batch).unwrap();
    }
    drop(store);
    let (_, found) = start(&directory.copy());
    assert_eq!(found.lost, None);
    assert_eq!(found.head, offset);
    (directory, found)
}

fn last(directory: &TestDir) -> PathBuf {
    directory.segments().pop().unwrap()
}

fn flip(path: &Path, at: u64, bit: u8) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

/// Checks that damage is reported by the start that finds it and by no other, and that its entries stay.
fn check_reported_once(directory: &TestDir, expected: &Found, what: &str) {
    let (store, first) = start(directory);
    if first.lost.is_none() {
        assert_eq!(first.entries, expected.entries, "{what}: skipped silently");
        assert_eq!(first.head, expected.head, "{what}");
    }
    assert!(first.entries.iter().all(|entry| expected.entries.contains(entry)), "{what}: an entry changed");
    assert!(first.offsets().is_sorted_by(|a, b| a < b), "{what}");
    let next = first.head + 1;
    store.append(&[entry(new_entry("a", "after"), next)]).unwrap();
    drop(store);
    let (_, second) = start(directory);
    assert_eq!(second.lost, None, "{what}: reported twice, first {:?}", first.lost);
    let mut kept = first.entries;
    kept.push((next, entry(new_entry("a", ""), next).tag, "after".into()));
    assert_eq!(second.entries, kept, "{what}");
    assert_eq!(second.head, next, "{what}");
}

#[test]
fn reopening_gives_the_same_entries_and_head() {
    let (directory, found) = killed_after(&[1, 5, 20, 1, 30, 2, 9]);
    assert!(directory.segments().len() >= 3);
    assert_eq!(found.offsets(), (1..=68).collect::<Vec<_>>());
    assert_eq!(found.head_tag, found.entries.last().unwrap().1);
    check_reported_once(&directory, &found, "nothing");
}

#[test]
fn new_directory_has_lost_nothing_even_if_killed_before_its_first_checkpoint() {
    let directory = TestDir::new();
    drop(opening(&directory, SMALL).scan(&mut |_, _| true, &mut |_| {}).unwrap().store);
    assert_eq!(loss(&directory), None);
}

#[test]
fn batch_that_a_kill_cut_short_is_dropped_without_a_loss() {
    // The last batch begins on the first page and ends on the third.
    let directory = TestDir::new();
    let (store, _) = open_with(&directory, Layout { segment_bytes: 1 << 20, sync_each_batch: false });
    store.append(&[entry(new_entry("a", "first"), 1)]).unwrap();
    let before = length_of(last(&directory));
    store.append(&[entry(new_entry("a", &"y".repeat(9000)), 2), entry(new_entry("b", "z"), 3)]).unwrap();
    drop(store);
    let whole = length_of(last(&directory));
    assert!(before < 4096 && whole > 8192);
    let lengths = (before..before + 200).chain(4080..4110).chain(8180..8200).chain(whole - 100..whole);
    for length in lengths {
        let copy = directory.copy();
        truncate_last(&copy, length);
        let (store, found) = start(&copy);
        drop(store);
        assert_eq!(found.offsets(), [1], "cut at {length}");
        let is_silent = length == before || length % 4096 == 0;
        assert_eq!(found.lost.is_none(), is_silent, "cut at {length}: {:?}", found.lost);
        let again = start(&copy).1;
        assert_eq!(again.lost, None, "cut at {length}");
        assert_eq!(again.head, 1);
    }
}

#[test]
fn flipped_bit_in_any_segment_is_never_skipped_silently() {
    let (directory, expected) = killed_after(&[2, 7, 3, 9, 1, 2]);
    let files = directory.segments();
    assert!(files.len() >= 2);
    for (index, file) in files.iter().enumerate() {
        let length = length_of(file);
        for at in (0..length).filter(|at| *at < 112 || at % 37 == 0 || *at > length - 20) {
            let copy = directory.copy();
            flip(&copy.segments()[index], at, (at % 8) as u8);
            check_reported_once(&copy, &expected, &format!("byte {at} of file {index}"));
        }
    }
}

#[test]
fn flipped_bit_beside_the_segments_is_never_skipped_silently() {
    let (directory, expected) = killed_after(&[2, 7, 3]);
    for name in ["checkpoint", "run.json"] {
        let length = length_of(directory.path().join(name));
        for at in 0..length {
            let copy = directory.copy();
            flip(&copy.path().join(name), at, (at % 7) as u8);
            check_reported_once(&copy, &expected, &format!("byte {at} of {name}"));
        }
        let copy = directory.copy();
        fs::remove_file(copy.path().join(name)).unwrap();
        assert!(loss(&copy).is_some(), "{name} is missing");
    }
}

#[test]
fn missing_segment_is_reported_once() {
    let (directory, expected) = killed_after(&[20; 6]);
    let files = directory.segments().len();
    assert!(files >= 4);
    for index in 0..files - 1 {
        let copy = directory.copy();
        fs::remove_file(&copy.segments()[index]).unwrap();
        assert!(loss(&copy.copy()).is_some(), "file {index}");
        check_reported_once(&copy, &expected, &format!("file {index} is missing"));
    }
}

#[test]
fn loss_is_reported_even_if_the_start_that_found_it_was_killed_before_it_was_recorded() {
    let (directory, _) = killed_after(&[20; 6]);
    let file = directory.segments().remove(2);
    for at in [3, 50, 300] {
        let copy = directory.copy();
        flip(&copy.segments()[2], at, 0);
        // No checkpoint is written here: the process dies first.
        let opened = opening(&copy, SMALL).scan(&mut |_, _| true, &mut |_| {}).unwrap();
        assert!(opened.lost.is_some(), "{}", file.display());
        drop(opened.store);
        assert!(loss(&copy).is_some(), "byte {at} was not reported");
        assert_eq!(loss(&copy), None);
    }
}

#[test]
fn missing_segments_are_reported() {
    let (directory, _) = killed_after(&[20; 6]);
    for file in directory.segments() {
        fs::remove_file(file).unwrap();
    }
    assert!(loss(&directory).is_some());
    assert_eq!(loss(&directory), None);
}

#[test]
fn clean_end_that_lost_its_tail_since_is_reported() {
    let directory = TestDir::new();
    let (store, _) = start(&directory);
    store.append(&[entry(new_entry("a", "x"), 1)]).unwrap();
    let whole = length_of(last(&directory));
    store.append(&[entry(new_entry("a", "x"), 2)]).unwrap();
    store.close().unwrap();
    drop(store);
    let clean = directory.copy();
    assert_eq!(loss(&clean), None);
    truncate_last(&directory, whole);
    assert!(loss(&directory).is_some());
}

#[test]
fn file_left_by_an_unfinished_compaction_is_removed() {
    let (directory, expected) = killed_after(&[20, 20]);
    let left = directory.segments()[0].with_extension("new");
    fs::write(&left, b"half").unwrap();
    fs::write(directory.path().join("checkpoint.new"), b"half").unwrap();
    assert_eq!(start(&directory).1, expected);
    assert!(!left.exists());
}

#[test]
fn second_process_is_refused() {
    let directory = TestDir::new();
    let (store, _) = start(&directory);
    assert!(matches!(lock_directory(directory.path()), Err(OpenError::InUse(_))));
    drop(store);
    assert!(open(directory.path(), lock_directory(directory.path()).unwrap(), SMALL).is_ok());
}

#[test]
fn kill_while_the_next_file_was_begun_loses_nothing() {
    let (directory, expected) = killed_after(&[20, 20]);
    let next = segment::path(&directory.path().join("segments"), 41);
    fs::write(&next, b"").unwrap();
    assert_eq!(start(&directory.copy()).1, expected);
    segment::create(&next, &SegmentHeader { first: 41, last: None, tag_before: expected.head_tag }).unwrap();
    check_reported_once(&directory, &expected, "header alone");
}

/// Releases all but every tenth, compacts, and returns the kept offsets.
fn thin_out(store: &DiskStore, head: u64) -> Vec<u64> {
    let (kept, gone): (Vec<u64>, Vec<u64>) = (1..=head).partition(|offset| offset % 10 == 0);
    store.release(&gone);
    (0..100).for_each(|_| maintain(store));
    kept
}

#[test]
fn rewritten_segments_reopen() {
    let (directory, expected) = killed_after(&[10; 30]);
    let (store, _) = start(&directory);
    let before = store.disk_bytes();
    let kept = thin_out(&store, 300);
    assert!(store.disk_bytes() < before / 2, "{} of {before}", store.disk_bytes());
    let read = store.read(&kept, Epoch(1)).unwrap();
    assert!(read.iter().zip(&kept).all(|(entry, offset)| entry.as_ref().unwrap().offset == *offset));
    drop(store);
    let (store, found) = start(&directory);
    assert_eq!((found.lost, found.head, found.head_tag), (None, 300, expected.head_tag));
    let offsets: Vec<u64> = found.entries.iter().map(|(offset, ..)| *offset).collect();
    assert!(kept.iter().all(|offset| offsets.contains(offset)));
    drop(store);
    let files = directory.segments();
    for (index, file) in files.iter().enumerate() {
        let length = length_of(file);
        for at in (0..length).step_by(41) {
            let copy = directory.copy();
            flip(&copy.segments()[index], at, 3);
            let (store, first) = start(&copy);
            drop(store);
            let is_header_padding = (36..40).contains(&at);
            assert!(
                first.lost.is_some() || (is_header_padding && first.offsets() == offsets),
                "{at} of {index}"
            );
            assert_eq!(loss(&copy), None, "{at} of {index} was reported twice");
        }
    }
}

#[test]
fn entries_released_after_the_checkpoint_was_taken_outlive_the_compaction() {
    // Their losses are not recorded: a start after a kill must find them.
    let (directory, _) = killed_after(&[10; 30]);
    let (store, _) = start(&directory);
    store.release(&(1..=300).filter(|offset| offset % 10 != 0).collect::<Vec<_>>());
    store
        .maintain(&|_| {
            store.release(&(1..=300).filter(|offset| offset % 20 == 0).collect::<Vec<_>>());
            Checkpoint::default()
        })
        .unwrap();
    drop(store);
    let found = start(&directory).1;
    assert_eq!(found.lost, None);
    let offsets = found.offsets();
    assert!((1..=300).filter(|offset| offset % 10 == 0).all(|offset| offsets.contains(&offset)));
}

#[test]
fn offsets_of_dropped_files_are_never_given_again() {
    let (directory, _) = killed_after(&[10; 30]);
    let (store, _) = start(&directory);
    store.release(&(1..=300).collect::<Vec<_>>());
    maintain(&store);
    drop(store);
    assert_eq!(directory.segments().len(), 1, "the others stand for nothing");
    assert_eq!(start(&directory.copy()).1.head, 300);
    assert_eq!(loss(&directory.copy()), None);
    // A later file follows, and the one before it is released.
    let (store, found) = start(&directory);
    assert_eq!(found.head, 300);
    for offset in 301..=330 {
        store.append(&[entry(new_entry("a", &"x".repeat(60)), offset)]).unwrap();
    }
    store.release(&(301..=330).collect::<Vec<_>>());
    maintain(&store);
    drop(store);
    for _ in 0..2 {
        let found = start(&directory).1;
        assert_eq!((found.head, found.lost), (330, None));
    }
    // Even with no file left at all, the offsets are known to be used.
    for file in directory.segments() {
        fs::remove_file(file).unwrap();
    }
    assert!(start(&directory).1.head >= 300);
}

#[test]
fn empty_last_file_is_gone_on_with() {
    let directory = TestDir::new();
    for _ in 0..3 {
        let full_at_once = Layout { segment_bytes: 1, sync_each_batch: false };
        let (store, _) = open_with(&directory, full_at_once);
        maintain(&store);
        assert_eq!(directory.segments().len(), 1);
    }
}

#[test]
fn checkpoint_comes_back_as_it_was_written() {
    let directory = TestDir::new();
    let (store, _) = start(&directory);
    let checkpoint = Checkpoint {
        epochs: vec![EpochRow { epoch: u64::MAX, begins_after: 7, lost: LostChannels::All }],
        floor: 5,
        ..Checkpoint::default()
    };
    store.write_checkpoint(&checkpoint).unwrap();
    drop(store);
    let numbered = Checkpoint { number: 2, ..checkpoint };
    assert_eq!(opening(&directory, SMALL).checkpoint(), Some(&numbered));
}

#[test]
fn machine_that_went_down_lost_the_last_second_unless_each_batch_was_synced() {
    let (directory, _) = killed_after(&[3]);
    let rewrite = |directory: &TestDir, boot: &str, sync: bool, clean: bool| {
        let run = format!(
            r#"{{"bootId":"{boot}","syncEachBatch":{sync},"clean":{clean},"head":{}}}"#,
            if clean { "3" } else { "null" }
        );
        fs::write(directory.path().join("run.json"), run).unwrap();
    };
    for (boot, sync, clean, is_lost) in [
        ("another", false, false, true),
        ("another", true, false, false),
        ("another", false, true, false),
        ("", false, false, true),
    ] {
        let copy = directory.copy();
        rewrite(&copy, boot, sync, clean);
        assert_eq!(loss(&copy).is_some(), is_lost, "{boot:?} {sync} {clean}");
        assert_eq!(loss(&copy), None, "reported twice");
    }
}

#[test]
fn directory_stays_within_its_bound_under_steady_writing() {
    // Every file holds an entry of a quiet channel, so none is ever empty.
    let directory = TestDir::new();
    let layout = Layout { segment_bytes: 16 << 10, sync_each_batch: false };
    let (store, _) = open_with(&directory, layout);
    let (mut live, mut offset) = (0, 0);
    let mut window = VecDeque::new();
    for round in 0..40 {
        for _ in 0..1000 {
            offset += 1;
            let next = entry(new_entry("a", &"x".repeat(60)), offset);
            store.append(std::slice::from_ref(&next)).unwrap();
            if offset % 100 == 0 {
                live += u64::from(next.record_bytes());
            } else {
                window.push_back(offset);
            }
            if window.len() > 1000 {
                store.release(&[window.pop_front().unwrap()]);
            }
        }
        maintain(&store);
        let kept =
            live + 1000 * u64::from(entry(new_entry("a", &"x".repeat(60)), 1).record_bytes()) + 1400 * 40;
        // Dead bytes: a quarter of the live ones, and as much as those and one file.
        let bound = kept + kept / 4 + kept + 3 * layout.segment_bytes;
        assert!(directory.bytes() <= bound, "round {round}: {} of {bound}", directory.bytes());
    }
}

#[test]
fn record_that_cannot_be_read_is_named() {
    let (directory, _) = killed_after(&[3, 3]);
    let (store, _) = start(&directory);
    flip(&directory.segments()[0], 200, 1);
    let error = store.read(&[1, 2, 3], Epoch(1)).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn adjoining_dropped_ranges_are_merged() {
    let mut dropped = vec![(1, 5), (20, 30)];
    drop_ranges(&mut dropped, &[(6, 10), (31, 31), (15, 16), (2, 3)]);
    assert_eq!(dropped, [(1, 10), (15, 16), (20, 31)]);
}

#[test]
fn batch_is_kept_whole_or_not_at_all() {
    let directory = TestDir::new();
    let (store, _) = open_with(&directory, Layout { segment_bytes: 1 << 20, sync_each_batch: true });
    let batch: Vec<Arc<Entry>> =
        (1..=5).map(|offset| entry(new_entry("a", &"x".repeat(3000)), offset)).collect();
    store.append(&batch).unwrap();
    drop(store);
    for length in (4096..16384).step_by(4096) {
        let copy = directory.copy();
        truncate_last(&copy, length);
        assert_eq!(start(&copy).1.entries.len(), 0, "cut at {length}");
    }
}

mod forged;
mod marks;
