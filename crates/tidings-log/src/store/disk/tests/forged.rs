//! Files with valid checksums and invalid numbers: a start reports them and goes on.

use super::*;
use crate::checkpoint::KeyRow;
use crate::entry::OFFSET_MAX;
use crate::settings::LogSettings;
use crate::testing::{TestWorld, disk_log};

/// A directory whose only file has one batch of events with these offsets, which `forge` changes.
fn directory_with(rewritten_to: Option<u64>, offsets: &[u64], forge: impl FnOnce(&mut [u8])) -> TestDir {
    let directory = TestDir::new();
    drop(start(&directory));
    let entries: Vec<_> = offsets.iter().map(|offset| entry(new_entry("a", "text"), *offset)).collect();
    let (mut batch, _) = record::encode_batch(&entries, HEADER_BYTES).unwrap();
    forge(&mut batch);
    let header = SegmentHeader { first: 1, last: rewritten_to, tag_before: Tag(0) };
    let file = segment::create(&last(&directory), &header).unwrap();
    file.write_all_at(&batch, HEADER_BYTES).unwrap();
    directory
}

/// Checks that the first start reports the damage and keeps nothing of it, and that the next one reports nothing.
fn check_refused(directory: &TestDir, what: &str) {
    let (store, found) = start(directory);
    assert!(found.lost.is_some(), "{what}: {found:?}");
    assert_eq!(found.entries, [], "{what}");
    store.append(&[entry(new_entry("a", "after"), found.head + 1)]).unwrap();
    drop(store);
    let (_, again) = start(directory);
    assert_eq!((again.lost, again.entries.len()), (None, 1), "{what}");
}

#[test]
fn offsets_of_a_batch_that_do_not_follow_each_other_are_damage() {
    for offsets in [&[1, 1][..], &[1, 2, 2], &[1, 3], &[2, 1], &[1, 0], &[1, OFFSET_MAX]] {
        check_refused(&directory_with(None, offsets, |_| ()), &format!("{offsets:?}"));
    }
    // A file that was rewritten has holes, and its offsets ascend all the same.
    for offsets in [&[1, 1][..], &[1, 5, 3], &[1, u64::from(u32::MAX) + 2]] {
        check_refused(
            &directory_with(Some(OFFSET_MAX - 1), offsets, |_| ()),
            &format!("rewritten {offsets:?}"),
        );
    }
    let (_, found) = start(&directory_with(Some(9), &[1, 5, 9], |_| ()));
    assert_eq!(found.offsets(), [1, 5, 9]);
}

#[test]
fn batch_that_counts_more_records_than_it_has_bytes_is_damage() {
    for records in [2, 1 << 20, u32::MAX] {
        let forge = |batch: &mut [u8]| {
            batch[8..12].copy_from_slice(&records.to_le_bytes());
            let crc = crc32fast::hash(&batch[..28]);
            batch[28..32].copy_from_slice(&crc.to_le_bytes());
        };
        check_refused(&directory_with(None, &[1], forge), &format!("{records} records"));
    }
}

#[test]
fn file_that_is_larger_than_any_segment_is_quarantined_unread() {
    let directory = directory_with(None, &[1], |_| ());
    let path = last(&directory);
    // It has holes, and takes no room.
    File::options().write(true).open(&path).unwrap().set_len(1 << 42).unwrap();
    let (_, found) = start(&directory);
    assert!(found.lost.as_ref().is_some_and(|why| why.contains("larger")), "{found:?}");
    assert!(path.with_extension("bad").exists());
}

#[test]
fn checkpoint_with_a_number_beyond_all_bounds_counts_as_damaged() {
    let key = KeyRow {
        publisher: "p".into(),
        key: "k".into(),
        fingerprint: [7; 16],
        offset: OFFSET_MAX + 1,
        tag: 1,
        published_at: u64::MAX,
    };
    let row = EpochRow { epoch: 1, begins_after: u64::MAX, lost: LostChannels::None };
    let none = Checkpoint::default;
    for checkpoint in [
        Checkpoint { dropped: vec![(1, u64::MAX)], ..none() },
        Checkpoint { dropped: vec![(u64::MAX, 1)], ..none() },
        Checkpoint { number: u64::MAX, ..none() },
        Checkpoint { floor: u64::MAX, ..none() },
        Checkpoint { trims: vec![("a".into(), u64::MAX, 0)], ..none() },
        Checkpoint { trims: vec![("a".into(), 0, OFFSET_MAX + 1)], ..none() },
        Checkpoint { keys: vec![key], ..none() },
        Checkpoint { epochs: vec![row], ..none() },
    ] {
        let directory = TestDir::new();
        let open = || disk_log(&LogSettings::default(), &directory, &TestWorld::new(1));
        let (log, _) = open();
        log.append(vec![new_entry("a", "before")]).unwrap();
        drop(log);
        fs::write(directory.path().join("checkpoint"), checkpoint.encode()).unwrap();
        let (log, recovered) = open();
        assert!(recovered.lost.is_some(), "{checkpoint:?}");
        assert_eq!(log.append(vec![new_entry("a", "after")]).unwrap()[0].offset, 2, "{checkpoint:?}");
        drop(log);
        assert_eq!(open().1.lost, None, "{checkpoint:?}");
    }
}
