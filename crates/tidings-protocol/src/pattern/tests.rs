use super::*;

#[test]
fn a_text_with_a_star_is_a_pattern_or_nothing() {
    assert!(matches!(Subscription::parse("a.b"), Ok(Subscription::Channel(_))));
    assert!(matches!(Subscription::parse("a.*"), Ok(Subscription::Pattern(_))));
    assert_eq!(
        Subscription::parse("a.b*").unwrap_err().to_string(),
        "pattern \"a.b*\" has \"b*\" as a segment; \"*\" and \"**\" are whole segments"
    );
}

#[test]
fn the_literal_prefix_ends_before_the_first_star() {
    for (pattern, prefix) in [("a.*.b", "a."), ("**", ""), ("a:b", "a:b"), ("a:b.**", "a:b.")] {
        assert_eq!(Pattern::parse(pattern).unwrap().literal_prefix(), prefix);
    }
}

#[test]
fn two_stars_are_one_segment_where_a_name_has_no_room_for_two() {
    let covers = |prefix: usize| {
        let prefix = "a".repeat(prefix);
        let wide = Subscription::parse(&format!("{prefix}.*")).unwrap();
        wide.covers(&Subscription::parse(&format!("{prefix}.**")).unwrap())
    };
    assert!(covers(197), "two bytes are left: no separator fits between two segments");
    assert!(!covers(196), "three bytes are left: b.c");
}
