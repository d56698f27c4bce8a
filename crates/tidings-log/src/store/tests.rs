use std::sync::Arc;

use tidings_protocol::{Epoch, EventName, Priority};

use super::Store;
use super::disk::{self, Layout};
use super::memory::MemoryStore;
use crate::checkpoint::Checkpoint;
use crate::entry::{Entry, NewEntry};
use crate::testing::{START, TestDir, entry, idempotent, new_entry};

/// Runs a case against a store in memory and one on disk with files so small that every case fills several.
fn check_store(case: &dyn Fn(&dyn Store)) {
    case(&MemoryStore::default());
    let directory = TestDir::new();
    case(&disk_store(&directory));
}

fn disk_store(directory: &TestDir) -> disk::DiskStore {
    let layout = Layout { segment_bytes: 2048, sync_each_batch: false };
    let opened = disk::open(directory.path(), disk::lock_directory(directory.path()).unwrap(), layout)
        .and_then(|opening| opening.scan(&mut |_, _| true, &mut |_| {}))
        .unwrap();
    assert_eq!((opened.head, opened.lost), (0, None));
    opened.store.write_checkpoint(&Checkpoint::default()).unwrap();
    opened.store
}

fn fields(entry: &Entry) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        (entry.offset, entry.epoch, entry.tag, entry.published_at, entry.expires_at, entry.priority),
        (entry.channels.to_vec(), entry.event.as_ref().map(ToString::to_string), entry.key.clone()),
        (entry.idempotency.clone(), entry.data(), entry.frame(Epoch(1), &[])),
    )
}

fn check_read(store: &dyn Store, entries: &[Arc<Entry>]) {
    for entry in entries {
        let read = store.read(&[entry.offset], Epoch(1)).unwrap().remove(0).expect("it was kept");
        assert_eq!(fields(&read), fields(entry));
    }
}

fn rich() -> Vec<NewEntry> {
    let texts =
        ["", "plain", "a\nb", "a\rb", "a\r\nb", "\n", "\r", "\r\n\r\n", "\n\n", "end\n", "ünï 🌊", "TDB1"];
    let mut new_entries: Vec<NewEntry> = texts.iter().map(|text| new_entry("a", text)).collect();
    new_entries.extend(
        texts
            .iter()
            .map(|text| NewEntry { event: Some(EventName::parse("ev").unwrap()), ..new_entry("b", text) }),
    );
    new_entries.push(new_entry("a", &"x".repeat(256 << 10)));
    new_entries.push(new_entry(&(0..200).map(|n| format!("many.{n}")).collect::<Vec<_>>().join(" "), "many"));
    new_entries.push(NewEntry { key: Some("k".repeat(255).into()), ..new_entry("a", "keyed") });
    new_entries.push(NewEntry { expires_at: Some(START + 1), ..new_entry("a", "brief") });
    new_entries.push(idempotent(&"n".repeat(200), &"i".repeat(255)));
    for priority in [Priority::Low, Priority::High, Priority::Critical] {
        new_entries.push(NewEntry {
            priority,
            event: Some(EventName::parse("event: x").unwrap()),
            ..new_entry("a b", "p")
        });
    }
    new_entries
}

fn entries(first: u64, new_entries: Vec<NewEntry>) -> Vec<Arc<Entry>> {
    (first..).zip(new_entries).map(|(offset, new_entry)| entry(new_entry, offset)).collect()
}

#[test]
fn every_field_is_read_back_as_it_was_appended() {
    check_store(&|store| {
        let one_batch = entries(1, rich());
        store.append(&one_batch).unwrap();
        let each_alone = entries(one_batch.len() as u64 + 1, rich());
        each_alone.iter().for_each(|entry| store.append(std::slice::from_ref(entry)).unwrap());
        check_read(store, &one_batch);
        check_read(store, &each_alone);
    });
}

#[test]
fn unknown_offsets_are_none() {
    check_store(&|store| {
        assert!(store.read(&[0, 1, u64::MAX], Epoch(1)).unwrap().iter().all(Option::is_none));
        store.append(&entries(1, vec![new_entry("a", "x")])).unwrap();
        let read = store.read(&[0, 1, 2, u64::MAX], Epoch(1)).unwrap();
        assert_eq!(read.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, false]);
    });
}

#[test]
fn reads_keep_the_order_that_was_asked() {
    check_store(&|store| {
        store.append(&entries(1, (0..100).map(|n| new_entry("a", &n.to_string())).collect())).unwrap();
        let offsets = [70, 3, 3, 99, 1];
        let read = store.read(&offsets, Epoch(1)).unwrap();
        assert_eq!(read.iter().map(|entry| entry.as_ref().unwrap().offset).collect::<Vec<_>>(), offsets);
    });
}

#[test]
fn released_entries_are_gone_and_the_others_stay() {
    check_store(&|store| {
        let all: Vec<_> = (1..=400).map(|offset| entry(new_entry("a", &"x".repeat(50)), offset)).collect();
        all.chunks(3).for_each(|batch| store.append(batch).unwrap());
        let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|entry| entry.offset % 40 != 0);
        let gone: Vec<u64> = gone.iter().map(|entry| entry.offset).collect();
        store.release(&gone);
        store.release(&gone);
        assert!(store.read(&gone, Epoch(1)).unwrap().iter().all(Option::is_none));
        check_read(store, &kept);
        for _ in 0..3 {
            store.maintain(&|_| Checkpoint::default()).unwrap();
            assert!(store.read(&gone, Epoch(1)).unwrap().iter().all(Option::is_none));
            check_read(store, &kept);
        }
        store.append(&entries(401, vec![new_entry("a", "after")])).unwrap();
        assert!(store.read(&[401], Epoch(1)).unwrap()[0].is_some());
        store.release(&kept.iter().map(|entry| entry.offset).collect::<Vec<_>>());
        store.maintain(&|_| Checkpoint::default()).unwrap();
        assert!(store.read(&[401], Epoch(1)).unwrap()[0].is_some());
    });
}

#[test]
fn offsets_may_jump() {
    check_store(&|store| {
        store.append(&[entry(new_entry("a", "1"), 1)]).unwrap();
        store.append(&[entry(new_entry("a", "9"), 9), entry(new_entry("a", "12"), 12)]).unwrap();
        let read = store.read(&[1, 2, 9, 10, 12], Epoch(1)).unwrap();
        assert_eq!(read.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true, false, true]);
    });
}

#[test]
fn frames_are_written_for_the_epoch_that_is_asked() {
    check_store(&|store| {
        store.append(&[entry(new_entry("a", "1"), 1)]).unwrap();
        let frame = store.read(&[1], Epoch(9)).unwrap()[0].as_ref().unwrap().frame(Epoch(9), &[]);
        assert!(String::from_utf8_lossy(&frame).contains("id: 0000000000000009-1-"), "{frame:?}");
    });
}

#[test]
fn writable_after_all_that() {
    check_store(&|store| {
        store.append(&entries(1, rich())).unwrap();
        store.sync().unwrap();
        assert!(store.writable().is_ok());
        store.close().unwrap();
    });
}
