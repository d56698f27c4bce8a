use tidings_protocol::Epoch;

use super::{BATCH_HEADER_BYTES, StoreError, decode_batch_header, decode_record, encode_batch};
use crate::entry::{Idempotency, NewEntry, OFFSET_MAX};
use crate::testing::{entry, new_entry};

#[track_caller]
fn is_refused(new_entry: NewEntry, position: u64, text: &str) {
    let error = encode_batch(&[entry(new_entry, 1)], position).unwrap_err();
    assert!(matches!(error, StoreError::NotStored(_)), "{error:?}");
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn length_that_its_field_cannot_hold_is_an_error() {
    let key = |publisher: usize, key: usize| {
        let (publisher, key) = ("p".repeat(publisher).into(), "k".repeat(key).into());
        NewEntry {
            idempotency: Some(Idempotency { publisher, key, fingerprint: [7; 16] }),
            ..new_entry("a", "x")
        }
    };
    encode_batch(&[entry(key(255, 255), 1)], 0).unwrap();
    is_refused(key(256, 1), 0, "a publisher's name is too long: 256");
    is_refused(key(1, 256), 0, "an idempotency key is too long: 256");
    is_refused(
        NewEntry { key: Some("k".repeat(256).into()), ..new_entry("a", "x") },
        0,
        "a key is too long: 256",
    );
    let many = vec![new_entry("a", "").channels[0].clone(); 65_536].into();
    is_refused(NewEntry { channels: many, ..new_entry("a", "x") }, 0, "count of channels is too long: 65536");
}

#[test]
fn position_beyond_what_a_file_may_hold_is_an_error() {
    is_refused(new_entry("a", "x"), u64::from(u32::MAX), "a file of the log is too long");
    is_refused(new_entry("a", "x"), u64::MAX, "a file of the log is too long");
}

#[test]
fn record_bytes_of_a_new_entry_are_those_of_its_record() {
    for new_entry in [
        new_entry("a", "text"),
        new_entry("a b c", ""),
        NewEntry { key: Some("k".into()), ..new_entry("a", "x") },
    ] {
        let (_, places) = encode_batch(&[entry(new_entry.clone(), 1)], 0).unwrap();
        assert_eq!(new_entry.record_bytes(), places[0].bytes as usize);
    }
}

#[test]
fn offset_that_nothing_may_follow_is_damage() {
    for (offset, is_good) in [(OFFSET_MAX, true), (OFFSET_MAX + 1, false), (u64::MAX, false)] {
        let (batch, _) = encode_batch(&[entry(new_entry("a", "x"), offset)], 0).unwrap();
        assert_eq!(decode_batch_header(&batch).is_some(), is_good, "{offset}");
        assert_eq!(decode_record(&batch[BATCH_HEADER_BYTES..], Epoch(1)).is_ok(), is_good, "{offset}");
    }
}
