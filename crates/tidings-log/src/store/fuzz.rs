//! Hooks for fuzzing: the records of a file.

use std::sync::Arc;

use tidings_protocol::{ChannelName, Epoch};

use super::record::{self, RECORD_HEADER_BYTES};

const NEWEST: Epoch = Epoch(7);

/// Reads bytes as a record, and as the payload of a record with a valid checksum.
///
/// # Panics
/// If the ways to read it differ, or if the record is not the same after it is written and read again.
pub fn record(bytes: &[u8]) {
    agree(bytes);
    let _ = record::decode_batch_header(bytes);
    let mut framed = Vec::with_capacity(RECORD_HEADER_BYTES + bytes.len());
    framed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    framed.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    framed.extend_from_slice(bytes);
    agree(&framed);
}

fn agree(bytes: &[u8]) {
    let fields = record::decode_fields(bytes, &mut |name| ChannelName::parse(name).ok());
    let text = record::decode_text(bytes);
    let Ok(entry) = record::decode_record(bytes, NEWEST) else { return };
    let (fields, length) = fields.expect("the same record");
    let text = text.expect("the same record");
    assert_eq!((fields.offset, fields.tag), (entry.offset, entry.tag));
    assert_eq!((text.offset, text.tag, text.data), (entry.offset, entry.tag, &*entry.data()));
    assert_eq!(text.event, entry.event.as_ref().map(|name| name.as_str()));
    assert_eq!(text.is_plain, entry.is_plain());
    let written = record::encode_batch(&[Arc::new(entry)], 0);
    let (batch, places) = written.expect("a record that was read can be written");
    let again = &batch[places[0].position as usize..][..places[0].bytes as usize];
    let known_bits = again.len() == length && again != &bytes[..length];
    assert!(
        known_bits || again == &bytes[..length],
        "it is written as it was read, but for flags of no meaning"
    );
}
