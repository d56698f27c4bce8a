use super::*;

const INTERVAL: Duration = Duration::from_millis(10);
const BOTH: KeepAliveDue = KeepAliveDue { comment: true, position: true };
const COMMENT: KeepAliveDue = KeepAliveDue { comment: true, position: false };
const POSITION: KeepAliveDue = KeepAliveDue { comment: false, position: true };

/// Makes instants of milliseconds since one start.
fn clock() -> impl Fn(u64) -> Instant {
    let start = Instant::now();
    move |milliseconds| start + Duration::from_millis(milliseconds)
}

#[test]
fn a_silent_stream_is_due_for_both_once_per_interval() {
    let at = clock();
    let mut stream = KeepAlive::new(INTERVAL, true, at(0));
    assert_eq!((stream.due(), stream.take_due(at(9))), (at(10), None));
    assert_eq!(stream.take_due(at(12)), Some(BOTH));
    assert_eq!((stream.due(), stream.take_due(at(12))), (at(22), None));
}

#[test]
fn a_stream_without_positions_is_due_only_for_comments() {
    let at = clock();
    let mut stream = KeepAlive::new(INTERVAL, false, at(0));
    stream.note_sent(at(7), false);
    assert_eq!((stream.due(), stream.take_due(at(16))), (at(17), None));
    assert_eq!(stream.take_due(at(17)), Some(COMMENT));
    stream.note_sent(at(20), true);
    assert_eq!(stream.due(), at(30));
}

#[test]
fn bytes_without_an_id_put_off_the_comment_and_not_the_position() {
    let at = clock();
    let mut stream = KeepAlive::new(INTERVAL, true, at(0));
    stream.note_sent(at(8), false);
    assert_eq!((stream.due(), stream.take_due(at(10))), (at(10), Some(POSITION)));
    assert_eq!(stream.due(), at(20));
    stream.note_sent(at(15), true);
    assert_eq!(stream.due(), at(25));
}
