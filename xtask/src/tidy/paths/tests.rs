//! Paths as they are written in real files.

use super::{UsePath, paths};
use crate::tidy::tokens::tokens;

fn read(source: &str) -> Vec<UsePath> {
    paths(&tokens(source))
}

fn check(source: &str, expected: &[&str]) {
    let found: Vec<String> = read(source).iter().map(|path| path.segments.join("::")).collect();
    assert_eq!(found, expected, "{source}");
}

#[test]
fn a_use_tree_is_taken_apart() {
    check(
        "use crate::{hub, log::{self, Entry as E, ring::*}};",
        &["crate::hub", "crate::log::self", "crate::log::Entry", "crate::log::ring::*"],
    );
    check("use log; use ::tokio::spawn;", &["log", "tokio::spawn"]);
}

#[test]
fn paths_in_code_are_found() {
    check(
        "fn a(b: crate::hub::Hub) -> u8 { super::super::c::d(b) + e }",
        &["crate::hub::Hub", "super::super::c::d"],
    );
    check("let a = Vec::<crate::log::Entry>::new();", &["Vec", "crate::log::Entry"]);
    check("if let crate::E::A { b } = c { d::e() }", &["crate::E::A", "d::e"]);
}

#[test]
fn the_name_of_a_path_is_its_alias_or_its_end() {
    let found = read("use a::{self, b as c, d};");
    let names: Vec<Option<&str>> = found.iter().map(UsePath::name).collect();
    assert_eq!(names, [Some("a"), Some("c"), Some("d")]);
}

#[test]
fn modules_within_a_file_are_known() {
    let found = read("mod a { mod b { use super::x; } use super::y; } fn c() { z::z() }");
    let modules: Vec<String> = found.iter().map(|path| path.modules.join("::")).collect();
    assert_eq!(modules, ["a::b", "a", ""]);
}
