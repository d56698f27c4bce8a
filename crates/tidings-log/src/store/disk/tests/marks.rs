//! Files that are missing, truncated at a whole batch, or older than they should be.

use super::*;

/// Like [`killed_after`], with a sync before the kill.
fn killed_after_sync(batches: &[u64]) -> (TestDir, Found) {
    let (directory, found) = killed_after(batches);
    let (store, _) = start(&directory);
    store.sync().unwrap();
    drop(store);
    (directory, found)
}

#[test]
fn missing_newest_file_is_reported_after_a_kill() {
    let (directory, _) = killed_after(&[20; 6]);
    let files = directory.segments();
    assert!(files.len() > 2);
    for gone in 1..3 {
        let copy = directory.copy();
        for _ in 0..gone {
            fs::remove_file(last(&copy)).unwrap();
        }
        let (store, found) = start(&copy);
        assert!(found.lost.as_ref().is_some_and(|why| why.contains("is missing")), "{found:?}");
        drop(store);
        assert_eq!(loss(&copy), None, "it is reported once");
    }
}

#[test]
fn file_of_the_only_batch_is_missed() {
    let directory = TestDir::new();
    let (store, _) = start(&directory);
    store.append(&[entry(new_entry("a", "x"), 1)]).unwrap();
    drop(store);
    for damage in [|path: &Path| fs::remove_file(path).unwrap(), |path: &Path| fs::write(path, b"").unwrap()]
    {
        let copy = directory.copy();
        damage(&last(&copy));
        assert!(loss(&copy).is_some());
    }
}

#[test]
fn missing_middle_file_is_reported() {
    let (directory, _) = killed_after(&[20; 6]);
    fs::remove_file(&directory.segments()[1]).unwrap();
    assert!(loss(&directory).is_some_and(|why| why.contains("have no file")));
}

#[test]
fn newest_file_that_was_truncated_at_a_whole_batch_is_reported() {
    let directory = TestDir::new();
    let (store, _) = start(&directory);
    let mut ends = vec![length_of(last(&directory))];
    for offset in 1..=3 {
        store.append(&[entry(new_entry("a", "x"), offset)]).unwrap();
        ends.push(length_of(last(&directory)));
    }
    store.sync().unwrap();
    drop(store);
    for (kept, end) in ends.iter().enumerate() {
        let copy = directory.copy();
        truncate_last(&copy, *end);
        assert_eq!(loss(&copy).is_some(), kept < 3, "cut after {kept}");
    }
}

#[test]
fn with_fsync_every_acknowledged_event_is_on_record() {
    let layout = Layout { segment_bytes: 1 << 20, sync_each_batch: true };
    let directory = TestDir::new();
    let (store, _) = open_with(&directory, layout);
    store.append(&[entry(new_entry("a", "x"), 1)]).unwrap();
    let end = length_of(last(&directory));
    store.append(&[entry(new_entry("a", "x"), 2)]).unwrap();
    drop(store);
    assert_eq!(open_with(&directory.copy(), layout).1.lost, None);
    truncate_last(&directory, end);
    assert!(open_with(&directory, layout).1.lost.is_some());
}

#[test]
fn older_checkpoint_is_reported() {
    let (directory, _) = killed_after(&[20]);
    let (store, _) = start(&directory);
    let older = fs::read(directory.path().join("checkpoint")).unwrap();
    store.write_checkpoint(&Checkpoint::default()).unwrap();
    drop(store);
    assert_eq!(loss(&directory.copy()), None);
    fs::write(directory.path().join("checkpoint"), older).unwrap();
    let (store, found) = start(&directory);
    assert!(found.lost.is_some_and(|why| why.contains("checkpoint")));
    drop(store);
    assert_eq!(loss(&directory), None);
}

/// A watermark that lags, is torn or is missing is no loss.
#[test]
fn record_that_lags_or_is_torn_is_no_loss() {
    let (directory, expected) = killed_after_sync(&[20]);
    let early = fs::read(directory.path().join("watermark")).unwrap();
    let (store, _) = start(&directory);
    let more: Vec<_> = (21..=120).map(|offset| entry(new_entry("a", "more"), offset)).collect();
    more.chunks(5).for_each(|batch| store.append(batch).unwrap());
    store.sync().unwrap();
    drop(store);
    let whole = fs::read(directory.path().join("watermark")).unwrap();
    assert_ne!(early, whole);
    let torn = [&whole[..9], &early[9..]].concat();
    for record in [Some(early), Some(torn), Some(whole[..10].to_vec()), Some(Vec::new()), None] {
        let copy = directory.copy();
        let path = copy.path().join("watermark");
        record.as_ref().map_or_else(|| fs::remove_file(&path), |record| fs::write(&path, record)).unwrap();
        let (_, found) = start(&copy);
        assert_eq!((found.lost, found.head), (None, 120), "{record:?}");
    }
    assert_eq!(expected.head, 20);
}

#[test]
fn room_that_came_back_is_not_missed() {
    let (directory, _) = killed_after(&[20; 6]);
    let (store, _) = start(&directory);
    store.release(&(1..=120).collect::<Vec<_>>());
    maintain(&store);
    drop(store);
    assert_eq!(loss(&directory), None);
}

#[test]
fn restored_backup_is_reported() {
    let (directory, expected) = killed_after(&[20]);
    let is_known = fs::metadata(directory.path().join("run.json")).unwrap().created().is_ok();
    if !is_known {
        println!("skipped: this file system does not say when a file was created");
        return;
    }
    let backup = directory.backup();
    assert_eq!(start(&directory).1, expected, "the directory itself is no copy");
    let (store, found) = start(&backup);
    assert!(found.lost.is_some_and(|why| why.contains("copy")));
    assert_eq!(found.entries, expected.entries);
    drop(store);
    assert_eq!(loss(&backup), None, "it is reported once");
}
