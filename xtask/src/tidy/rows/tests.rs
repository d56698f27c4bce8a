//! Uses that are allowed, and uses that go up.

use super::{check, no_http_in_the_core};
use crate::tidy::file::TextFile;

const ROWS: &str = "| module | does |\n|---|---|\n| `node` | |\n| `http` | |\n| `hub` | |\n| `log`, `broker` | |\n| `error`, `limits` | |\n";
const LIB: &str = "pub use error::{Error, ErrorKind};\npub use self::node::Hub as Handle;\nmod hub;";

fn faults(path: &str, text: &str) -> Vec<String> {
    let mut files =
        vec![TextFile::new("ARCHITECTURE.md", ROWS), TextFile::new("crates/tidings/src/lib.rs", LIB)];
    let modules =
        ["node.rs", "http.rs", "hub.rs", "log.rs", "log/store.rs", "broker.rs", "error.rs", "limits.rs"];
    let others = modules.into_iter().filter(|module| *module != path);
    files.extend(others.map(|path| TextFile::new(&format!("crates/tidings/src/{path}"), "")));
    files.push(TextFile::new(&format!("crates/tidings/src/{path}"), text));
    check(&files)
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
    refuse("log.rs", "use crate::{\n    error,\n    http::Request,\n};", "`log` uses `http`");
    refuse("log.rs", "use super::hub;", "`log` uses `hub`");
    refuse("log/ring.rs", "\nfn a() { super::super::hub::b() }", "ring.rs:2: `log` uses `hub`");
    refuse("log.rs", "mod inner {\n    use super::super::hub;\n}", "`log` uses `hub`");
    refuse("hub.rs", "fn a(b: &crate::http::Request) {}", "`hub` uses `http`");
    refuse("limits.rs", "pub(crate) use crate::log::Log;", "`limits` uses `log`");
    refuse("log.rs", "use crate::*;", "takes in the whole crate");
    refuse("misc.rs", "", "`misc` stands in no row");
}

#[test]
fn a_name_that_the_root_gives_out_counts_as_its_module() {
    allow("log.rs", "use crate::{Error, ErrorKind};");
    refuse("log.rs", "use crate::Handle;", "`log` uses `node`");
}

#[test]
fn comments_strings_tests_and_other_crates_are_free() {
    allow(
        "log.rs",
        "// crate::hub\nconst A: &str = \"crate::hub::B\";\n#[cfg(test)]\nmod tests {\n    use crate::hub;\n}",
    );
    allow("log/tests.rs", "use crate::node;");
    allow("log.rs", "mod inner {\n    use super::hub;\n}");
    allow("log.rs", "use axum::Router; fn a() { hub::b() }");
}

#[test]
fn http_types_are_refused_in_the_core_only() {
    let check = |path: &str, text, expected| {
        let files = [TextFile::new(&format!("crates/tidings/src/{path}"), text)];
        assert_eq!(no_http_in_the_core(&files).len(), expected, "{path}: {text}");
    };
    check("hub.rs", "use http::StatusCode;\nuse http_body_util::{BodyExt, Full};", 3);
    check("hub/shard.rs", "fn a(b: hyper::body::Bytes) {}", 1);
    check("http/error.rs", "use http::StatusCode;", 0);
    check("hub.rs", "// http::StatusCode\nconst A: &str = \"http://b\";\nuse crate::http;", 0);
}
