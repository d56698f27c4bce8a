//! Uses that are allowed and uses that go up.

use super::{check, module_of};
use crate::tidy::TextFile;

const LIB: &str =
    "//! Sample.\npub use error::{Error, ErrorKind};\npub use self::node::Hub as Handle;\nmod hub;";

fn faults(path: &str, text: &str) -> Vec<String> {
    let file = |path: &str, text: &str| TextFile {
        path: format!("crates/tidings/src/{path}"),
        text: text.to_owned(),
    };
    check(&[file("lib.rs", LIB), file(path, text)])
}

fn allow(path: &str, text: &str) {
    assert_eq!(faults(path, text), [""; 0], "{path}: {text}");
}

fn refuse(path: &str, text: &str, words: &str) {
    let faults = faults(path, text);
    assert_eq!(faults.len(), 1, "{path}: {text}: {faults:?}");
    assert!(faults[0].contains(words), "{faults:?}");
}

#[test]
fn rows_below_and_the_same_row_are_free() {
    allow("node.rs", "use crate::{http, hub::Hub, log};");
    allow("log/ring.rs", "use crate::broker::Broker; use crate::error::Error; use super::store;");
    allow("error.rs", "use crate::limits; use std::fmt;");
}

#[test]
fn a_row_above_is_refused_in_every_spelling() {
    refuse("log.rs", "use crate::hub::Hub;", "log.rs:1: `log` uses `hub`");
    refuse("log.rs", "use crate::{auth, publish::Publisher};", "`log` uses `publish`");
    refuse("log.rs", "use super::hub;", "`log` uses `hub`");
    refuse("log/ring.rs", "use super::super::hub;", "`log` uses `hub`");
    refuse("log/ring.rs", "\nfn a() { super::super::connection::b() }", "ring.rs:2: `log` uses `connection`");
    refuse("log.rs", "mod inner { use super::super::hub; }", "`log` uses `hub`");
    refuse("connection.rs", "fn a(b: &crate::http::Request) {}", "`connection` uses `http`");
    refuse("config.rs", "pub(crate) use crate::auth::Permit;", "`config` uses `auth`");
}

#[test]
fn a_name_that_the_root_gives_out_counts_as_its_module() {
    allow("log.rs", "use crate::{Error, ErrorKind};");
    refuse("log.rs", "use crate::Handle;", "`log` uses `node`");
}

#[test]
fn the_whole_crate_at_once_is_refused() {
    refuse("log.rs", "use crate::*;", "takes in the whole crate");
    refuse("log.rs", "use super::*;", "takes in the whole crate");
    allow("log/ring.rs", "use super::*;");
}

#[test]
fn comments_strings_tests_and_lib_are_free() {
    allow(
        "log.rs",
        "// crate::hub\nconst A: &str = \"crate::hub::B\";\n#[cfg(test)] mod tests { use crate::hub; }",
    );
    allow("log/tests.rs", "use crate::node;");
    allow("lib.rs", "use crate::node;");
    allow("log.rs", "mod inner { use super::hub; }");
    allow("log.rs", "use axum::Router; fn a() { hub::b() }");
}

#[test]
fn a_module_without_a_row_is_refused() {
    refuse("misc.rs", "", "`misc` stands in no row");
}

#[test]
fn module_paths_follow_the_files() {
    let check = |path: &str, expected: &str| assert_eq!(module_of(path).join("::"), expected);
    check("crates/tidings/src/log/ring.rs", "log::ring");
    check("crates/tidings/src/log/mod.rs", "log");
    check("crates/tidings/src/lib.rs", "");
}
