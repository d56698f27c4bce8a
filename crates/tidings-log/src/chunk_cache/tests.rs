use super::*;
use crate::testing::{channel, entry, new_entry};

/// A chunk of entries `first`, `first + 2`, and so on.
fn chunk(first: u64, count: u64, data_bytes: usize) -> Chunk {
    let mut builder = ChunkBuilder::new(Epoch(1));
    for offset in (first..).step_by(2).take(count as usize) {
        builder.push(Some(RawEntry::Entry(&entry(new_entry("a", &"x".repeat(data_bytes)), offset))));
    }
    builder.finish().unwrap()
}

#[test]
fn a_slice_begins_and_ends_between_frames() {
    let joined = chunk(1, 5, 3);
    let frame = |offset| entry(new_entry("a", "xxx"), offset).frame(Epoch(1), &[]);
    let slice = joined.slice(3, 8).unwrap();
    assert_eq!(slice.frames, [frame(3), frame(5), frame(7)].concat());
    assert_eq!((slice.events, slice.end.0), (3, 7));
    assert_eq!(joined.slice(1, u64::MAX).unwrap().events, 5);
    assert!(joined.slice(4, 8).is_none() && joined.slice(11, 20).is_none() && joined.slice(5, 4).is_none());
}

#[test]
fn a_full_chunk_ends_but_holds_one_entry_at_least() {
    let large = chunk(1, 3, CHUNK_BYTES);
    assert_eq!(large.slice(1, u64::MAX).unwrap().events, 1);
    let small = chunk(1, 1000, 100);
    let slice = small.slice(1, u64::MAX).unwrap();
    assert!(slice.frames.len() <= CHUNK_BYTES && slice.events > 40 && slice.events < 1000);
}

#[test]
fn cache_is_bounded_and_used_chunks_stay() {
    let mut chunk_cache = ChunkCache::default();
    let (asked_for, one) = (channel("asked-for"), chunk(1, 10, 1000));
    chunk_cache.insert(&asked_for, &one);
    let many = 3 * CACHE_BYTES_MAX / one.cost();
    for number in 0..many {
        assert!(chunk_cache.get(&asked_for, 1, u64::MAX).is_some(), "after {number}");
        chunk_cache.insert(&channel(&format!("other.{number}")), &one);
        assert!(chunk_cache.bytes() <= CACHE_BYTES_MAX);
    }
    assert!(chunk_cache.bytes() + one.cost() > CACHE_BYTES_MAX);
    assert_eq!(chunk_cache.order.len(), chunk_cache.by_channel.len());
    assert!(chunk_cache.get(&channel("other.0"), 1, u64::MAX).is_none());
    chunk_cache.clear();
    assert!(chunk_cache.bytes() == 0 && chunk_cache.get(&asked_for, 1, u64::MAX).is_none());
}
