use std::collections::HashMap;

use super::*;

#[track_caller]
fn check_refusal(text: &str, message: &str) {
    assert_eq!(ChannelName::parse(text).unwrap_err().to_string(), message);
}

#[test]
fn refusals_name_the_value_the_bound_and_the_way_out() {
    check_refusal("", "channel is empty; a name has 1 to 200 bytes");
    check_refusal(&"a".repeat(10_240), "channel is 10240 bytes; limit is 200");
    check_refusal(
        "a..b",
        "channel \"a..b\" has an empty segment at byte 2; write one separator between two segments",
    );
    check_refusal("$a", "channel \"$a\" begins with \"$\"; such names are the hub's own, use another");
    check_refusal("a.*", "channel \"a.*\" is a pattern; name one channel without \"*\"");
    check_refusal(
        "a\0b",
        "channel \"a\\0b\" has '\\0' at byte 1; allowed are A-Z a-z 0-9 _ - ~ @ and the separators . and :",
    );
}

#[test]
fn a_long_name_of_the_hub_is_reserved_all_the_same() {
    assert!(ChannelName::parse(&format!("${}", "a".repeat(10_240))).unwrap_err().is_reserved());
    assert!(!ChannelName::parse("a$").unwrap_err().is_reserved());
}

#[test]
fn a_map_by_name_is_asked_by_text() {
    let counts = HashMap::from([(ChannelName::parse("a.b").unwrap(), 1)]);
    assert_eq!(counts.get("a.b"), Some(&1));
}
