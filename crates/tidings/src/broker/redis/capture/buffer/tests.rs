use super::*;

const SETTINGS: u64 = 7;

fn draft(text: &str) -> Option<NewEntry> {
    Some(NewEntry {
        channels: Box::new([]),
        event: None,
        data: text.into(),
        priority: tidings_protocol::Priority::Normal,
        key: None,
        published_at: 0,
        expires_at: None,
        idempotency: None,
    })
}

/// A line that heard the mark 1.
fn line() -> CaptureBuffer {
    let line = CaptureBuffer::new(SETTINGS);
    line.back(1);
    line.mark(1);
    line
}

fn push(line: &CaptureBuffer, texts: &[&str]) {
    texts.iter().for_each(|text| assert_eq!(line.push(draft(text)), 0));
}

fn place(mark: u64, count: u64) -> Option<CapturePosition> {
    Some(CapturePosition { settings: SETTINGS, mark, count })
}

/// What waits, and the place behind it.
fn waiting(line: &CaptureBuffer) -> (Vec<String>, Option<CapturePosition>) {
    let Some((drafts, place)) = line.next(100, usize::MAX, line.gap_count()) else {
        return (Vec::new(), None);
    };
    (drafts.iter().map(|draft| draft.data.to_string()).collect(), Some(place))
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
    let line = CaptureBuffer::new(SETTINGS);
    push(&line, &["away"]);
    line.back(9);
    assert_eq!(line.status(), BufferStatus::Unmarked(9));
    push(&line, &["unmarked"]);
    line.mark(5);
    assert_eq!(line.status(), BufferStatus::Marked);
    push(&line, &["a"]);
    assert_eq!(waiting(&line), (vec!["a".to_owned()], place(5, 1)));
}

#[test]
fn marks_count_for_nobody_who_is_away() {
    let line = CaptureBuffer::new(SETTINGS);
    line.mark(5);
    assert_eq!(line.status(), BufferStatus::Away);
}

#[test]
fn what_is_in_the_log_waits_no_more() {
    let line = line();
    push(&line, &["a", "b"]);
    line.mark(2);
    push(&line, &["c", "d"]);
    line.acknowledge(place(1, 1));
    assert_eq!(waiting(&line), (vec!["b".to_owned(), "c".to_owned(), "d".to_owned()], place(2, 2)));
    line.acknowledge(place(2, 1));
    assert_eq!(waiting(&line).0, ["d"]);
    line.acknowledge(place(2, 2));
    assert_eq!(waiting(&line), (vec![], None));
}

#[test]
fn what_was_appended_before_this_node_came_is_none_of_what_waits() {
    let line = line();
    push(&line, &["a"]);
    line.acknowledge(place(99, 1000));
    line.acknowledge(None);
    assert_eq!(waiting(&line).0, ["a"]);
}

#[test]
fn place_of_other_settings_leaves_nothing() {
    let line = line();
    push(&line, &["a"]);
    line.acknowledge(Some(CapturePosition { settings: SETTINGS + 1, mark: 1, count: 0 }));
    assert_eq!(waiting(&line).0, [""; 0]);
    push(&line, &["b"]);
    assert_eq!(waiting(&line), (vec!["b".to_owned()], place(1, 2)));
}

#[test]
fn unfit_messages_count() {
    let line = line();
    assert_eq!(line.push(None), 0);
    assert_eq!(waiting(&line), (vec![], place(1, 1)));
    push(&line, &["a"]);
    line.push(None);
    assert_eq!(waiting(&line), (vec!["a".to_owned()], place(1, 3)));
}

#[test]
fn what_was_heard_outlives_the_connection() {
    let line = line();
    push(&line, &["a"]);
    line.away();
    push(&line, &["nobody hears"]);
    line.back(3);
    line.mark(3);
    push(&line, &["b"]);
    assert_eq!(line.markers(), (vec![3], 1));
    assert!(line.next(100, usize::MAX, 0).is_none(), "another may have heard what was missed");
    assert_eq!(waiting(&line), (vec!["a".to_owned(), "b".to_owned()], place(3, 1)));
    line.acknowledge(place(1, 1));
    assert_eq!(waiting(&line).0, ["b"]);
}

#[test]
fn marks_are_kept_while_something_waits_behind_them_and_else_few() {
    let line = line();
    push(&line, &["a"]);
    (2..100).for_each(|mark| line.mark(mark));
    assert_eq!(line.markers().0.len(), 99);
    line.acknowledge(place(1, 1));
    assert_eq!(line.markers().0.len(), MARKERS_MAX);
    (100..200).for_each(|mark| line.mark(mark));
    assert_eq!(line.markers().0.len(), MARKERS_MAX);
    push(&line, &["b"]);
    assert_eq!(waiting(&line), (vec!["b".to_owned()], place(199, 1)));
}

#[test]
fn a_call_has_its_bounds() {
    let line = line();
    push(&line, &["a", "b", "c"]);
    let (drafts, behind) = line.next(2, usize::MAX, 0).unwrap();
    assert_eq!((drafts.len(), Some(behind)), (2, place(1, 2)));
    let (drafts, behind) = line.next(100, 1, 0).unwrap();
    assert_eq!((drafts.len(), Some(behind)), (1, place(1, 1)));
}

#[test]
fn too_much_costs_the_oldest() {
    let line = line();
    let text = "x".repeat(BYTES_MAX / 4);
    let lost: usize = (0..5).map(|_| line.push(draft(&text))).sum();
    assert_eq!(lost, 2);
    assert_eq!(line.next(100, usize::MAX, 0).unwrap().1, place(1, 5).unwrap());
}
