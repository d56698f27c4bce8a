//! Code that is hidden from rules, and paths in every spelling.

use super::{Place, paths, shipped};

#[test]
fn comments_strings_and_tests_are_hidden() {
    let check = |text: &str, expected: &str| assert_eq!(shipped(text).trim_end(), expected, "{text}");
    check("a(); // b::c\n/* d\n*/ e", "a(); \n\n e");
    check("f(\"a // b\", 'c', '\"', '\\'', r#\"d \"e\"#);", "f(, , , , );");
    check("fn f<'a>(b: &'a str) -> &'a str {}", "fn f<'a>(b: &'a str) -> &'a str {}");
    check("a\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nc", "a\n\n\n\n\nc");
    check(
        "#[cfg(test)]\nmod tests;\n#[cfg(test)]\n#[path = \"x\"]\nuse a::{\n    b,\n};\nc",
        "\n\n\n\n\n\n\nc",
    );
    check("#[cfg(not(test))]\nfn a() {}", "#[cfg(not(test))]\nfn a() {}");
}

#[test]
fn trees_of_use_are_taken_apart() {
    let check = |text: &str, expected: &[(&str, &str)]| {
        let paths = paths(text);
        let found: Vec<(String, String)> = paths
            .into_iter()
            .map(|path| match path.place {
                Place::Use { name, .. } => (path.segments.join("::"), name),
                Place::Code => (path.segments.join("::"), String::new()),
            })
            .collect();
        let expected: Vec<(String, String)> =
            expected.iter().map(|(path, name)| ((*path).to_owned(), (*name).to_owned())).collect();
        assert_eq!(found, expected, "{text}");
    };
    check("use a;", &[("a", "a")]);
    check("pub use a::{self, b::C as D};", &[("a", "a"), ("a::b::C", "D")]);
    check(
        "use crate::{\n    a::{B, C},\n    d::*,\n};",
        &[("crate::a::B", "B"), ("crate::a::C", "C"), ("crate::d::*", "*")],
    );
    check("fn a() { super::b::c(D::e) }", &[("super::b::c", "")]);
}
