use super::*;

#[test]
fn names_that_a_line_can_carry_are_taken() {
    for text in ["a", "message", "order created", "tidings", "Tidings.gap", "событие", &"e".repeat(255)]
    {
        assert_eq!(EventName::parse(text).unwrap().as_str(), text);
    }
}

#[test]
fn names_that_would_break_a_stream_or_mislead_are_refused() {
    for text in ["", "a\nb", "a\r", "\0", "tidings.gap", "tidings.", &"e".repeat(256)] {
        assert!(EventName::parse(text).is_err(), "{text:?}");
    }
    assert_eq!(
        EventName::parse("a\nevent: b").unwrap_err().to_string(),
        "event name \"a\\nevent: b\" has CR, LF or NUL; it must fit one line of the stream"
    );
}
