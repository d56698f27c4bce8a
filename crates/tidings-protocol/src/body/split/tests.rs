use super::*;

#[track_caller]
fn check(list: &str, pieces: &[BatchElement<'_>]) {
    assert_eq!(elements(list.as_bytes()).collect::<Vec<_>>(), pieces);
}

#[test]
fn a_list_is_cut_at_its_own_commas() {
    use BatchElement::{Message, Trailing, Unclosed};
    check("]", &[]);
    check(" \n ] ", &[]);
    check("1, [2,3] ,{\"a\":[4,5]}]", &[Message(b"1"), Message(b"[2,3]"), Message(b"{\"a\":[4,5]}")]);
    check("\"],\\\"\",2]", &[Message(b"\"],\\\"\""), Message(b"2")]);
    check("1,]", &[Message(b"1"), Message(b"")]);
    check(",1]", &[Message(b""), Message(b"1")]);
    check("1] x", &[Message(b"1"), Trailing]);
    check("]]", &[Trailing]);
    check("", &[Unclosed]);
    check("1", &[Message(b"1"), Unclosed]);
    check("1,", &[Message(b"1"), Unclosed]);
    check("1}", &[Message(b"1"), Unclosed]);
    check("\"1,", &[Message(b"\"1,"), Unclosed]);
}

#[test]
fn depth_counts_brackets_outside_strings() {
    assert_eq!(extent(b"1").depth, 0);
    assert_eq!(extent(b"[{\"[[[\":[]}]").depth, 3);
    assert_eq!(extent("[".repeat(100_000).as_bytes()).depth, 100_000);
}

#[test]
fn a_string_that_never_ends_ends_with_its_text() {
    assert_eq!(string_end(b"abc\\", 0), 4);
    assert_eq!(string_end(b"abc\\\"", 0), 5);
}
