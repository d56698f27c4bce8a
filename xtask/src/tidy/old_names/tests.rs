//! Rows of the list, and what they find.

use super::{LIST, check};
use crate::tidy::file::TextFile;

fn findings(list: &str, path: &str, text: &str) -> Vec<String> {
    let file = |path: &str, text: &str| TextFile::new(path, text);
    check(&[file(LIST, list), file(path, text), file("CHANGELOG.md", text)])
}

fn check_row(list: &str, path: &str, text: &str, expected: usize) {
    let findings = findings(list, path, text);
    assert_eq!(findings.len(), expected, "{list}: {path}: {text}: {findings:?}");
}

#[test]
fn each_kind_of_row_finds_its_names() {
    check_row("# note\n\ntype Seat Door", "crates/a.rs", "struct Seat(Door);\nSeats", 2);
    check_row("type Seat", "a.rs", "// Takes a `Seat`.\n// A Seat.\nf(\"a Seat\")", 1);
    check_row("type Seat", "a.md", "A `Seat`. A Seat.", 1);
    check_row("def Link", "a.rs", "pub struct Link;\nLink::new()", 1);
    check_row("fn turn", "a.rs", "fn turn(&self)\nself.turn()\nfn turns()", 1);
    check_row("field told", "a.rs", "    told: usize,\ntold()", 1);
    check_row("variant Hole", "a.rs", "    Hole { at: u64 },\n    Hole,\n Hole::new(),", 2);
    check_row("word broker_losses", "a.js", "\"broker_losses\"\nbroker_losses_total", 1);
    check_row("path node/warden", "crates/node/warden.rs", "", 1);
    check_row("path node/warden", "crates/node/warden/tests.rs", "warden", 1);
    check_row("path node/warden", "crates/node/wardens.rs", "", 0);
}

#[test]
fn a_row_with_a_path_speaks_of_files_there() {
    check_row("fn turn @ crates/.*/connection", "crates/a/connection.rs", "fn turn()", 1);
    check_row("fn turn @ crates/.*/connection", "crates/a/node.rs", "fn turn()", 0);
}

#[test]
fn a_row_that_cannot_be_read_is_a_finding() {
    check_row("kind name\nfn [\nfn", "a.rs", "", 3);
    assert_eq!(check(&[]).len(), 1, "a list is needed");
}
