use super::*;

/// Instants in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct At(u64);

impl Add<Duration> for At {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + u64::try_from(time.as_millis()).unwrap())
    }
}

const INTERVAL: Duration = Duration::from_millis(10);
const BOTH: KeepAliveDue = KeepAliveDue { comment: true, position: true };
const COMMENT: KeepAliveDue = KeepAliveDue { comment: true, position: false };
const POSITION: KeepAliveDue = KeepAliveDue { comment: false, position: true };

#[test]
fn a_silent_stream_is_due_for_both_once_per_interval() {
    let mut stream = KeepAlive::new(INTERVAL, true, At(0));
    assert_eq!((stream.due(), stream.take_due(At(9))), (At(10), None));
    assert_eq!(stream.take_due(At(12)), Some(BOTH));
    assert_eq!((stream.due(), stream.take_due(At(12))), (At(22), None));
}

#[test]
fn a_stream_without_positions_is_due_only_for_comments() {
    let mut stream = KeepAlive::new(INTERVAL, false, At(0));
    stream.sent(At(7), false);
    assert_eq!((stream.due(), stream.take_due(At(16))), (At(17), None));
    assert_eq!(stream.take_due(At(17)), Some(COMMENT));
    stream.sent(At(20), true);
    assert_eq!(stream.due(), At(30));
}

#[test]
fn what_has_no_id_puts_off_the_comment_and_not_the_position() {
    let mut stream = KeepAlive::new(INTERVAL, true, At(0));
    stream.sent(At(8), false);
    assert_eq!((stream.due(), stream.take_due(At(10))), (At(10), Some(POSITION)));
    assert_eq!(stream.due(), At(20));
    stream.sent(At(15), true);
    assert_eq!(stream.due(), At(25));
}
