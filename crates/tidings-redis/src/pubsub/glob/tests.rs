use super::*;

#[test]
fn globs_match_as_in_redis() {
    let cases = [
        ("a", "a", true),
        ("a", "ab", false),
        ("ab", "a", false),
        ("*", "", true),
        ("*", "a.b", true),
        ("a.*", "a.", true),
        ("a.*", "a.b.c", true),
        ("a.*", "a", false),
        ("*.b", "a.b.b", true),
        ("*.b", "a.b.c", false),
        ("a*b*c", "a.b.b.c", true),
        ("a*b*c", "a.c.b", false),
        ("[^_]*", "a", true),
        ("[^_]*", "_a", false),
        ("[^_]*", "", false),
        ("_[^_]*.b", "_a.b", true),
        ("_[^_]*.b", "_.b", false),
        ("[-0-9A-Za-z~@]*", "-a", true),
        ("[-0-9A-Za-z~@]*", "~", true),
        ("[-0-9A-Za-z~@]*", "{a}:live", false),
        ("[-0-9A-Za-z~@]*", "$a", false),
        ("*[^e]", "ae.", true),
        ("*[^e]", "aee", false),
    ];
    for (glob, channel, matched) in cases {
        assert_eq!(matches(glob.as_bytes(), channel.as_bytes()), matched, "{glob} {channel}");
    }
}
