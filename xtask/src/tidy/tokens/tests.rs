//! What the cutter keeps and leaves out.

use super::{tokens, without_tests};

fn check(source: &str, expected: &str) {
    let words: Vec<String> = tokens(source).into_iter().map(|token| token.text).collect();
    assert_eq!(words.join(" "), expected, "{source}");
}

fn check_without_tests(source: &str, expected: &str) {
    let words: Vec<String> = without_tests(&tokens(source)).into_iter().map(|token| token.text).collect();
    assert_eq!(words.join(" "), expected, "{source}");
}

#[test]
fn comments_are_left_out() {
    check("a // b\nc /* d /* e */ f */ g /// h", "a c g");
}

#[test]
fn what_strings_contain_is_left_out() {
    check(r#"a("b \" c", b"d", c"e") f"#, r#"a ( "" , "" , "" ) f"#);
    check(r##"r"a\" r#"b " c"# br#"d"# r#type e"##, r#""" "" "" type e"#);
    check("\"a // b\" c", "\"\" c");
}

#[test]
fn characters_are_told_from_lifetimes() {
    check(r"'a' '\'' '\\' b'x' '\u{1f}' '「' end", "'' '' '' '' '' '' end");
    check("&'a str 'outer: loop x::<'_>", "& str : loop x :: < >");
    check(r#"'"' a "b""#, r#"'' a """#);
}

#[test]
fn paths_keep_their_double_colon() {
    check("crate::log::{a, b}", "crate :: log :: { a , b }");
}

#[test]
fn lines_are_counted_through_comments_and_strings() {
    let all = tokens("a\n/*\n\n*/ b \"\n\" c\n'\\n' d");
    let lines: Vec<usize> = all.iter().filter(|token| token.is_word()).map(|token| token.line).collect();
    assert_eq!(lines, [1, 4, 5, 6]);
}

#[test]
fn unclosed_source_ends() {
    for source in ["\"a", "/* a", "'", "'\\", "r#\"a", "b'", "#[cfg(test)] mod a {", "#[cfg(test)]"] {
        let _ = without_tests(&tokens(source));
    }
}

#[test]
fn test_items_are_left_out() {
    check_without_tests("#[cfg(test)] mod tests; a", "a");
    check_without_tests("#[cfg(test)] mod tests { fn b() { c } } a", "a");
    check_without_tests("#[cfg(test)] #[allow(x)] pub(crate) fn b<A, B>(c: [u8; 2]) -> D { e } a", "a");
    check_without_tests("#[cfg(test)] use b::{c, d}; a", "a");
    check_without_tests("#[cfg(all(test, unix))] const B: u8 = 1; a", "a");
}

#[test]
fn test_fields_and_arms_are_left_out() {
    check_without_tests("struct A { #[cfg(test)] b: C<u8>, d: E }", "struct A { d : E }");
    check_without_tests("struct A { d: E, #[cfg(test)] b: u8 }", "struct A { d : E , }");
    check_without_tests(
        "match a { #[cfg(test)] B => c, D => e }",
        "match a { D => e }".replace("=>", "= >").as_str(),
    );
}

#[test]
fn code_that_ships_is_kept() {
    check_without_tests("#[cfg(not(test))] fn a() {}", "# [ cfg ( not ( test ) ) ] fn a ( ) { }");
}
