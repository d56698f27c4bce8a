use super::*;

#[test]
fn content_is_compared_with_the_sent_content() {
    let history = History::new(vec!["a".into()], false);
    let label = |number| EventLabel { publisher: 0, number };
    history.begin_publish(label(0), &[0], DeliveryClass::Strict, None, "text");
    assert_eq!(history.check_content(label(0), None, "text"), Ok(()));
    for (number, name, data) in [(0, Some("note"), "text"), (0, None, "other"), (1, None, "text")] {
        assert!(history.check_content(label(number), name, data).is_err(), "{number} {name:?} {data}");
    }
}

#[test]
fn label_is_read_from_the_first_line() {
    let label = EventLabel { publisher: 0, number: 3 };
    assert_eq!(EventLabel::parse("{\"p\":0,\"n\":3,\"pad\":\"x\"}\nid: 4"), Some(label));
    assert_eq!(EventLabel::parse("text"), None);
}
