//! Events are read back as they were written.

use super::{BYTES, Event};

#[test]
fn event_is_read_back_as_written() {
    for event in [
        Event { source: 0, number: 0, time: 0 },
        Event { source: 99, number: 99_999_999, time: 9_999_999_999_999_999 },
    ] {
        let text = event.text();
        assert_eq!(text.len(), BYTES);
        assert_eq!(Event::read(text.as_bytes()), Some(event));
    }
}

#[test]
fn text_of_another_length_is_no_event() {
    assert_eq!(Event::read(b"{}"), None);
}
