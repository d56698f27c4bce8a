use tidings_log::testing::new_entry;

use super::*;

const SETTINGS: u64 = 7;

fn entry(text: &str) -> Option<NewEntry> {
    Some(new_entry("a", text))
}

/// A line that heard the mark 1.
fn buffer() -> CaptureBuffer {
    let buffer = CaptureBuffer::new(SETTINGS);
    buffer.connected(1);
    buffer.note_marker(1);
    buffer
}

fn push(buffer: &CaptureBuffer, texts: &[&str]) {
    texts.iter().for_each(|text| assert_eq!(buffer.push(entry(text)), 0));
}

fn place(mark: u64, count: u64) -> Option<CapturePosition> {
    Some(CapturePosition { settings: SETTINGS, mark, count })
}

/// Waiting messages, and the position after them.
fn waiting(buffer: &CaptureBuffer) -> (Vec<String>, Option<CapturePosition>) {
    let Some((entries, place)) = buffer.next(100, usize::MAX, buffer.gap_count()) else {
        return (Vec::new(), None);
    };
    (entries.iter().map(|entry| entry.data.to_string()).collect(), Some(place))
}

#[test]
fn place_is_read_as_it_was_written() {
    let written = place(0xfe, 12).unwrap();
    assert_eq!(CapturePosition::read(&written.to_string()), Some(written));
    for text in ["", "7", "0000000000000007 00000000000000fe", "0000000000000007 00000000000000fe x"] {
        assert_eq!(CapturePosition::read(text), None, "{text:?}");
    }
}

#[test]
fn before_the_first_mark_nothing_is_heard() {
    let buffer = CaptureBuffer::new(SETTINGS);
    push(&buffer, &["away"]);
    buffer.connected(9);
    assert_eq!(buffer.status(), BufferStatus::Unpositioned(9));
    push(&buffer, &["unmarked"]);
    buffer.note_marker(5);
    assert_eq!(buffer.status(), BufferStatus::Positioned);
    push(&buffer, &["a"]);
    assert_eq!(waiting(&buffer), (vec!["a".to_owned()], place(5, 1)));
}

#[test]
fn marks_count_for_nobody_who_is_away() {
    let buffer = CaptureBuffer::new(SETTINGS);
    buffer.note_marker(5);
    assert_eq!(buffer.status(), BufferStatus::Disconnected);
}

#[test]
fn what_is_in_the_log_waits_no_more() {
    let buffer = buffer();
    push(&buffer, &["a", "b"]);
    buffer.note_marker(2);
    push(&buffer, &["c", "d"]);
    buffer.acknowledge(place(1, 1));
    assert_eq!(waiting(&buffer), (vec!["b".to_owned(), "c".to_owned(), "d".to_owned()], place(2, 2)));
    buffer.acknowledge(place(2, 1));
    assert_eq!(waiting(&buffer).0, ["d"]);
    buffer.acknowledge(place(2, 2));
    assert_eq!(waiting(&buffer), (vec![], None));
}

#[test]
fn what_was_appended_before_this_node_came_is_none_of_what_waits() {
    let buffer = buffer();
    push(&buffer, &["a"]);
    buffer.acknowledge(place(99, 1000));
    buffer.acknowledge(None);
    assert_eq!(waiting(&buffer).0, ["a"]);
}

#[test]
fn place_of_other_settings_leaves_nothing() {
    let buffer = buffer();
    push(&buffer, &["a"]);
    buffer.acknowledge(Some(CapturePosition { settings: SETTINGS + 1, mark: 1, count: 0 }));
    assert_eq!(waiting(&buffer).0, [""; 0]);
    push(&buffer, &["b"]);
    assert_eq!(waiting(&buffer), (vec!["b".to_owned()], place(1, 2)));
}

#[test]
fn unfit_messages_count() {
    let buffer = buffer();
    assert_eq!(buffer.push(None), 0);
    assert_eq!(waiting(&buffer), (vec![], place(1, 1)));
    push(&buffer, &["a"]);
    buffer.push(None);
    assert_eq!(waiting(&buffer), (vec!["a".to_owned()], place(1, 3)));
}

#[test]
fn what_was_heard_outlives_the_connection() {
    let buffer = buffer();
    push(&buffer, &["a"]);
    buffer.disconnected();
    push(&buffer, &["nobody hears"]);
    buffer.connected(3);
    buffer.note_marker(3);
    push(&buffer, &["b"]);
    assert_eq!(buffer.markers(), (vec![3], 1));
    assert!(buffer.next(100, usize::MAX, 0).is_none(), "another may have heard what was missed");
    assert_eq!(waiting(&buffer), (vec!["a".to_owned(), "b".to_owned()], place(3, 1)));
    buffer.acknowledge(place(1, 1));
    assert_eq!(waiting(&buffer).0, ["b"]);
}

#[test]
fn marks_are_kept_while_something_waits_behind_them_and_else_few() {
    let buffer = buffer();
    push(&buffer, &["a"]);
    (2..100).for_each(|mark| buffer.note_marker(mark));
    assert_eq!(buffer.markers().0.len(), 99);
    buffer.acknowledge(place(1, 1));
    assert_eq!(buffer.markers().0.len(), MARKERS_MAX);
    (100..200).for_each(|mark| buffer.note_marker(mark));
    assert_eq!(buffer.markers().0.len(), MARKERS_MAX);
    push(&buffer, &["b"]);
    assert_eq!(waiting(&buffer), (vec!["b".to_owned()], place(199, 1)));
}

#[test]
fn a_call_has_its_bounds() {
    let buffer = buffer();
    push(&buffer, &["a", "b", "c"]);
    let (entries, behind) = buffer.next(2, usize::MAX, 0).unwrap();
    assert_eq!((entries.len(), Some(behind)), (2, place(1, 2)));
    let (entries, behind) = buffer.next(100, 1, 0).unwrap();
    assert_eq!((entries.len(), Some(behind)), (1, place(1, 1)));
}

#[test]
fn too_much_costs_the_oldest() {
    let buffer = buffer();
    let text = "x".repeat(BYTES_MAX / 4);
    let lost: usize = (0..5).map(|_| buffer.push(entry(&text))).sum();
    assert_eq!(lost, 2);
    assert_eq!(buffer.next(100, usize::MAX, 0).unwrap().1, place(1, 5).unwrap());
}
