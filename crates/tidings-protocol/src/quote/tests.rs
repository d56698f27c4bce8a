use super::*;

#[test]
fn values_are_escaped_and_cut() {
    assert_eq!(quoted("a\n\"b\0"), r#""a\n\"b\u{0}""#.replace("u{0}", "0"));
    assert_eq!(quoted(&"x".repeat(40)), format!("\"{}\"", "x".repeat(40)));
    assert_eq!(quoted(&"x".repeat(10_000)), format!("\"{}…\"", "x".repeat(40)));
}

#[test]
fn a_near_word_is_named_and_a_far_one_gets_the_list() {
    let known = ["channels", "event", "idempotencyKey"];
    assert_eq!(suggestion("channel", &known), "did you mean \"channels\"?");
    assert_eq!(suggestion("idempotency_key", &known), "did you mean \"idempotencyKey\"?");
    assert_eq!(suggestion("colour", &known), "known are channels, event, idempotencyKey");
    assert_eq!(suggestion(&"event".repeat(1000), &known), "known are channels, event, idempotencyKey");
}
