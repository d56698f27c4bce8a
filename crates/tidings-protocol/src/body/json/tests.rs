use super::*;

#[test]
fn only_blanks_between_tokens_go() {
    assert_eq!(
        compact(" { \"a b\" :\r\n\t[ 1.0 , \" \\\" \" ] } ").as_deref(),
        Some(r#"{"a b":[1.0," \" "]}"#)
    );
    assert_eq!(compact("-0.10e+05").as_deref(), Some("-0.10e+05"));
}

#[test]
fn surrogates_come_in_pairs_or_not_at_all() {
    for (json, is_text) in [
        (r#""\ud83d\ude00""#, true),
        (r#""\uD83D\uDE00\u0041""#, true),
        (r#""\\ud800""#, true),
        (r#""\\\\\"\u0041""#, true),
        (r#""\ud800""#, false),
        (r#""\ud800x""#, false),
        (r#""\ud800\n""#, false),
        (r#""\ud800\ud800\udc00""#, false),
        (r#""\udc00""#, false),
        (r#"["a","\\\ud800"]"#, false),
        (r#"{"\udfff":1}"#, false),
    ] {
        assert_eq!(compact(json).is_some(), is_text, "{json}");
    }
}
