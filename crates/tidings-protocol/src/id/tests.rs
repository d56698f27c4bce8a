use super::*;

#[test]
fn a_long_id_is_refused_in_few_words() {
    let error = "0".repeat(64 * 1024).parse::<EventId>().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("event id \"{}…\" is longer than 256 bytes; send an id as it was received", "0".repeat(40))
    );
}

#[test]
fn distances_count_from_the_ids_own_offset() {
    let id = EventId {
        skips: vec![Skip { offset: 12, tag: Tag(1) }, Skip { offset: 20, tag: Tag(2) }],
        ..EventId::new(Epoch(0xab), 10, Tag(0xc))
    };
    assert_eq!(id.to_string(), "00000000000000ab-10-0000000c.2-00000001.10-00000002");
    assert_eq!(id.to_string().parse(), Ok(id));
}

#[test]
fn the_longest_id_is_as_long_as_computed() {
    let offset = u64::MAX - EventId::DISTANCE_MAX;
    let skips = (0..8).map(|back| Skip { offset: u64::MAX - 7 + back, tag: Tag(u32::MAX) }).collect();
    let id = EventId { skips, ..EventId::new(Epoch(u64::MAX), offset, Tag(u32::MAX)) };
    assert_eq!(id.to_string().len(), CURSOR_BYTES_MAX + 8 * SKIP_BYTES_MAX);
}

#[test]
fn numbers_are_written_as_fmt_writes_them() {
    for number in [0, 1, 9, 10, 99, 100, 0xdead_beef, u64::from(u32::MAX), u64::MAX / 3, u64::MAX] {
        let id = EventId::new(Epoch(number), number, Tag(number as u32));
        assert_eq!(id.to_string(), format!("{number:016x}-{number}-{:08x}", number as u32));
    }
}
