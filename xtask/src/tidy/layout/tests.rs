//! Bounds of lengths, and first lines.

use super::{LINES_MAX, first_lines, lengths};
use crate::tidy::file::TextFile;

fn file(path: &str, text: String) -> [TextFile; 1] {
    [TextFile { path: path.to_owned(), text }]
}

#[test]
fn the_longest_allowed_file_passes_and_one_more_line_fails() {
    assert_eq!(lengths(&file("a/src/b.rs", "x\n".repeat(LINES_MAX))), [""; 0]);
    assert_eq!(lengths(&file("a/tests/b.rs", "x\n".repeat(LINES_MAX + 1))).len(), 1);
    assert_eq!(lengths(&file("a/b.md", "x\n".repeat(LINES_MAX + 1))), [""; 0]);
}

#[test]
fn a_source_file_begins_with_a_sentence() {
    let check = |path: &str, text: &str, faults: usize| {
        assert_eq!(first_lines(&file(path, text.to_owned())).len(), faults, "{path}: {text}");
    };
    check("a/src/b.rs", "//! What it does.\nuse c;", 0);
    check("a/src/b.rs", "use c;", 1);
    check("a/src/b.rs", "\n//! What it does.", 1);
    check("a/src/b.rs", "//! \nuse c;", 1);
    check("a/src/b.rs", "", 1);
    check("a/build.rs", "fn main() {}", 0);
}
