//! Circles of two, of three, of parent and child, and uses that only look like one.

use super::circles;
use crate::tidy::file::TextFile;

fn findings(files: &[(&str, &str)]) -> Vec<String> {
    let file = |(path, text): &(&str, &str)| TextFile::new(&format!("crates/a/src/{path}"), text);
    circles(&files.iter().map(file).collect::<Vec<_>>())
}

#[test]
fn files_that_use_each_other_are_a_circle() {
    let found =
        findings(&[("lib.rs", "mod b; mod c;"), ("b.rs", "use crate::c::C;"), ("c.rs", "\nuse super::b;")]);
    let expected = [
        "crates/a/src/b.rs: in a circle of 2 files; uses crates/a/src/c.rs (line 1)",
        "crates/a/src/c.rs: in a circle of 2 files; uses crates/a/src/b.rs (line 2)",
    ];
    assert_eq!(found, expected);
    let three = [
        ("lib.rs", ""),
        ("b.rs", "use crate::c::C;"),
        ("c.rs", "fn f() { crate::d::g() }"),
        ("d.rs", "use super::b;"),
    ];
    assert_eq!(findings(&three).len(), 3);
}

#[test]
fn a_child_that_uses_its_parent_is_a_circle_if_the_parent_uses_it() {
    let child = ("b/c.rs", "use super::B;");
    assert_eq!(findings(&[("lib.rs", ""), ("b.rs", "mod c;\nstruct B;\nfn f() { c::g() }"), child]).len(), 2);
    assert_eq!(findings(&[("lib.rs", ""), ("b.rs", "mod c;\nuse c::C;\nstruct B(C);"), child]).len(), 2);
    assert_eq!(findings(&[("lib.rs", ""), ("b.rs", "mod c;\nstruct B;"), child]), [""; 0]);
    assert_eq!(findings(&[("lib.rs", ""), ("b.rs", "mod c;\npub use c::C;\nstruct B;"), child]), [""; 0]);
    assert_eq!(findings(&[("lib.rs", ""), ("b.rs", "mod c;\npub use c::C;\nstruct B(C);"), child]).len(), 2);
}

#[test]
fn a_name_counts_as_the_file_that_defines_it() {
    let parent = ("b.rs", "mod c;\nmod d;\npub use c::C;\nuse d::D;");
    assert_eq!(findings(&[("lib.rs", ""), parent, ("b/c.rs", ""), ("b/d.rs", "use super::C;")]), [""; 0]);
    assert_eq!(
        findings(&[("lib.rs", ""), parent, ("b/c.rs", "use super::d;"), ("b/d.rs", "use super::C;")]).len(),
        2
    );
}

#[test]
fn tests_and_other_crates_are_free() {
    let files = [
        ("lib.rs", ""),
        ("b.rs", "#[cfg(test)]\nmod tests;\nfn f() { tests::g() }"),
        ("b/tests.rs", "use super::B;"),
    ];
    assert_eq!(findings(&files), [""; 0]);
    assert_eq!(findings(&[("lib.rs", "use b::C;"), ("c.rs", "use std::b;")]), [""; 0]);
}
